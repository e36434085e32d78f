// A model's whole life through the real program: import, train, evaluate, predict, inspect.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "virga/base/file.h"
#include "virga/channel/dynamodb_testing.h"
#include "virga/channel/memcached_testing.h"
#include "virga/channel/redis_testing.h"
#include "virga/cli/program_testing.h"
#include "virga/cost/ledger.h"
#include "virga/driver/store_process_testing.h"

namespace virga {
namespace {

using nlohmann::json;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::IsEmpty;

/// Rows of a rule that a linear model finds: the class is that of the first feature, unless row % 10 is 0. Each row has
/// one of 20 other features as well.
std::string libsvm_rows(int rows) {
  std::string text;
  for (int row = 0; row < rows; ++row) {
    const bool positive = row % 3 == 0;
    const bool label = row % 10 == 0 ? !positive : positive;
    text +=
        std::string(label ? "1" : "-1") + (positive ? " 1:1" : " 2:1") + " " + std::to_string(3 + row % 20) + ":1\n";
  }
  return text;
}

class TrainTest : public testing::Test {
 protected:
  TrainTest() {
    folder_.write("data.svm", libsvm_rows(2000));
    folder_.write("test.svm", libsvm_rows(300));
  }
  [[nodiscard]] ProgramResult virga(const std::vector<std::string>& arguments) const {
    return run_program(arguments, folder_.path());
  }
  [[nodiscard]] ProgramResult shell(const std::string& line) const {
    return run_program({"-c", line}, folder_.path(), {}, "/bin/bash");
  }
  [[nodiscard]] bool exists(const std::string& name) const { return std::filesystem::exists(folder_.path() / name); }
  /// Result of a command that must succeed and print JSON.
  [[nodiscard]] json document(std::vector<std::string> arguments) const {
    arguments.emplace_back("--json");
    const auto result = virga(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
    return json::parse(result.out);
  }
  [[nodiscard]] json train(std::vector<std::string> flags = {}) const {
    std::vector<std::string> arguments{"train", "data.svm", "--epochs", "3", "--learning-rate", "0.5"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    return document(arguments);
  }
  TemporaryFolder folder_;
};

TEST_F(TrainTest, MakesAModelThatPredicts) {
  const auto trained = train();
  EXPECT_EQ(trained["schema_version"], 1);
  EXPECT_EQ(trained["kind"], "logistic");
  EXPECT_EQ(trained["ended_by"], "epochs");
  EXPECT_LT(trained["validation_loss"], trained["base_loss"]);

  const auto judged = document({"evaluate", "model.safetensors", "test.svm"});
  EXPECT_EQ(judged["rows"], 300);
  EXPECT_NEAR(judged["accuracy"], 0.9, 1e-12);

  const auto labels = virga({"predict", "model.safetensors", "test.svm"});
  EXPECT_THAT(labels.out, testing::StartsWith("1\n-1\n-1\n1\n"));
  EXPECT_EQ(std::ranges::count(labels.out, '\n'), 300);
}

TEST_F(TrainTest, ReadsRowsWithoutLabelsFromAPipe) {
  static_cast<void>(train());
  const auto result = shell("head -n 2 test.svm | virga predict model.safetensors - --output probability");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, testing::MatchesRegex("0\\.[0-9e-]+\n0\\.[0-9e-]+\n"));
}

TEST_F(TrainTest, ReplacesNoDataByTheModel) {
  for (const auto& args :
       std::vector<std::vector<std::string>>{{"train", "data.svm", "--out", "data.svm"},
                                             {"train", "data.svm", "--test", "test.svm", "--out", "test.svm"}}) {
    const auto refused = virga(args);
    EXPECT_EQ(refused.exit_code, 2);
    EXPECT_THAT(refused.err, HasSubstr("it is read, too"));
  }
  static_cast<void>(train({"--test", "test.svm"}));  // both are as they were
}

TEST_F(TrainTest, RefusesToStartFromAModelOfAnotherKind) {
  static_cast<void>(train({"--model", "svm", "--out", "svm.safetensors"}));
  const auto refused = virga({"train", "data.svm", "--init-model", "svm.safetensors", "--model", "logistic"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("it is a model of kind svm, the job's is logistic"));
}

TEST_F(TrainTest, WritesPredictionsWholeOrNotAtAll) {
  static_cast<void>(train());
  const auto good = document({"predict", "model.safetensors", "test.svm", "--out", "p.txt"});
  EXPECT_EQ(good["rows"], 300);
  EXPECT_TRUE(exists("p.txt"));
  folder_.write("bad.svm", libsvm_rows(10) + "1 x:1\n");
  const auto bad = virga({"predict", "model.safetensors", "bad.svm", "--out", "q.txt"});
  EXPECT_EQ(bad.exit_code, 3);
  EXPECT_THAT(bad.err, HasSubstr("bad.svm:11:3"));
  EXPECT_FALSE(exists("q.txt"));
  EXPECT_EQ(virga({"predict", "model.safetensors", "test.svm", "--json"}).exit_code, 2);
}

TEST_F(TrainTest, GivesTheSameModelFromASetAsFromTheRawFile) {
  static_cast<void>(train({"--out", "raw.safetensors"}));
  const auto imported = document({"import", "data.svm", "--to", "set"});
  EXPECT_EQ(imported["train"]["rows"].get<int>() + imported["validation"]["rows"].get<int>(), 2000);
  static_cast<void>(document({"train", "set", "--epochs", "3", "--learning-rate", "0.5", "--out", "set.safetensors"}));
  const auto bias = [&](const char* model) { return document({"inspect", model})["bias"]; };
  EXPECT_EQ(bias("raw.safetensors"), bias("set.safetensors"));
  EXPECT_EQ(document({"evaluate", "raw.safetensors", "set"})["split"], "validation");
  EXPECT_EQ(virga({"evaluate", "raw.safetensors", "set", "--split", "test"}).exit_code, 3);
}

TEST_F(TrainTest, FollowsAJobFile) {
  folder_.write("job.toml",
                "[data]\ntrain = \"data.svm\"\n[stop]\nepochs = 2\n[optimizer]\nlearning_rate = 0.25\n"
                "[output]\nmodel = \"job.safetensors\"\nname = \"mine\"\n");
  const auto trained = document({"train", "job.toml", "--epochs", "1"});
  EXPECT_EQ(trained["epochs"], 1);
  EXPECT_TRUE(exists("job.safetensors"));
  const auto run = document({"show", "mine"})["run"];
  EXPECT_EQ(run["id"], trained["run"]);
  EXPECT_EQ(run["state"], "finished");
  EXPECT_EQ(run["settings"]["stop"]["epochs"]["source"], "flag");
  EXPECT_EQ(run["settings"]["optimizer"]["learning_rate"]["origin"], "job.toml:6");
  EXPECT_EQ(run["history"].size(), 1);
}

TEST_F(TrainTest, JudgesTheModelOnTestDataOnceAtTheEnd) {
  static_cast<void>(document({"import", "test.svm", "--to", "test-set", "--validation-fraction", "0"}));
  static_cast<void>(document({"import", "data.svm", "--to", "set"}));
  const auto judged = [&](const char* data, const char* test) {
    return document({"train", data, "--test", test, "--epochs", "3", "--learning-rate", "0.5"})["test"];
  };
  const auto loss = judged("data.svm", "test.svm")["loss"].get<double>();  // one import of both files
  EXPECT_NEAR(judged("data.svm", "test-set")["loss"], loss, 1e-9);
  EXPECT_NEAR(judged("set", "test.svm")["loss"], loss, 1e-9);
  EXPECT_NEAR(judged("set", "test-set")["loss"], loss, 1e-9);
  EXPECT_EQ(document({"show"})["run"]["validation"], nullptr);
  EXPECT_EQ(train()["test"], nullptr);

  EXPECT_NEAR(document({"evaluate", "model.safetensors", "test.svm"})["loss"], loss, 1e-9);
  EXPECT_EQ(virga({"train", "set", "--test", "nowhere.svm"}).exit_code, 3);
  const auto text = virga({"train", "data.svm", "--test", "test.svm", "--epochs", "1"});
  EXPECT_THAT(text.err, ContainsRegex("\ntest: 300 rows, log-loss [0-9.]+ .*accuracy [0-9.]+, AUC [0-9.]+\n"));
  EXPECT_THAT(virga({"show"}).out, HasSubstr("On the test data:\n  rows              300\n"));
  EXPECT_EQ(document({"show"})["run"]["test"]["rows"], 300);
}

TEST_F(TrainTest, JudgesTheModelOnValidationDataIfThereAreNoOthers) {
  static_cast<void>(train());
  const auto run = document({"show"})["run"];
  const auto& judged = run["validation"];
  EXPECT_EQ(run["test"], nullptr);
  EXPECT_EQ(judged["calibration"].size(), 10);
  EXPECT_EQ(judged["confusion_matrix"].size(), 2);
  double best = judged["loss"].get<double>();
  for (const auto& epoch : run["history"]) {
    if (std::abs(epoch["validation_loss"].get<double>() - best) < 1e-9) best = -1;
  }
  EXPECT_EQ(best, -1) << "its loss is that of the best epoch";
  EXPECT_THAT(virga({"show"}).out, HasSubstr("On the validation data:\n  rows "));
  EXPECT_EQ(virga({"show", "--html", "page.html"}).exit_code, 0);
  const auto page = read_file(folder_.path() / "page.html");
  EXPECT_THAT(as_text(page), testing::AllOf(HasSubstr("On the validation data"), HasSubstr("Calibration")));
}

TEST_F(TrainTest, ShowsAModelWithItsLargestWeights) {
  static_cast<void>(train());
  const auto text = virga({"inspect", "model.safetensors", "--top", "2"});
  EXPECT_THAT(text.out, HasSubstr("logistic from libsvm rows, 22 features"));
  EXPECT_THAT(text.out, ContainsRegex("\n +[0-9.]+  1      1\n"));  // feature 1 speaks for class 1
  const auto model = document({"inspect", "model.safetensors"});
  EXPECT_EQ(model["kind"], "model");
  EXPECT_EQ(model["largest_weights"].size(), 10);
}

TEST_F(TrainTest, KeepsTheBestModelWhenItIsStopped) {
  for (const auto& [signal, code] : {std::pair{"INT", 130}, {"TERM", 143}}) {
    // Job control, because a shell without it starts what runs beside it with SIGINT ignored.
    const auto stopped = shell(
        "set -m; mkfifo events; virga train data.svm --epochs 100000000 --patience 0 --learning-rate 0.1 --out kept "
        "--progress jsonl --name endless 2> events & grep -m 1 evaluated < events > first; kill -" +
        std::string(signal) + " %1; wait %1; echo \"exit $?\"; rm events");
    EXPECT_THAT(stopped.out, HasSubstr("exit " + std::to_string(code) + "\n")) << signal;
    EXPECT_TRUE(exists("kept"));
    EXPECT_EQ(document({"show", "last"})["run"]["state"], "stopped");
    std::filesystem::remove(folder_.path() / "kept");
  }
}

TEST_F(TrainTest, SaysThatTimeWasUpBeforeTheTarget) {
  const auto late = virga({"train", "data.svm", "--seconds", "1ms", "--target-loss", "0.0001", "--learning-rate", "0.1",
                           "--epochs", "100000000", "--patience", "0"});
  EXPECT_EQ(late.exit_code, 5) << late.err;
  EXPECT_EQ(document({"show"})["run"]["reason"], "seconds");
}

TEST_F(TrainTest, RefusesWhatCannotBeTrainedOn) {
  EXPECT_EQ(virga({"train"}).exit_code, 2);
  EXPECT_EQ(virga({"train", "nowhere.svm"}).exit_code, 3);
  EXPECT_EQ(virga({"train", "data.svm", "--model", "perceptron"}).exit_code, 2);
  EXPECT_EQ(virga({"train", "data.svm", "--engine", "lambda"}).exit_code, 2);
  EXPECT_EQ(virga({"evaluate", "data.svm", "data.svm"}).exit_code, 3);
  folder_.write("empty.svm", "");
  EXPECT_EQ(virga({"train", "empty.svm"}).exit_code, 3);
  folder_.write("one.svm", "1 1:1\n1 2:1\n1 1:1\n1 2:1\n");
  const auto one_class = virga({"train", "one.svm"});
  EXPECT_EQ(one_class.exit_code, 3);
  EXPECT_THAT(one_class.err, HasSubstr("remedy"));
  EXPECT_FALSE(exists("model.safetensors"));
}

TEST_F(TrainTest, ImportsWhatItIsTold) {
  EXPECT_EQ(virga({"import", "data.svm"}).exit_code, 2);
  folder_.write("rows.csv", "id;size;colour;bought\n1;2.5;red;no\n2;1.5;blue;yes\n3;0.5;red;no\n4;1;green;yes\n");
  const auto set = document(
      {"import", "rows.csv", "--to", "set", "--label", "bought", "--ignore", "id", "--validation", "rows.csv"});
  EXPECT_EQ(set["train"]["rows"], 4);
  EXPECT_EQ(set["validation"]["rows"], 4);
  EXPECT_EQ(set["label_column"], "bought");
  EXPECT_EQ(set["columns"][0]["kind"], "ignored");
  EXPECT_EQ(virga({"import", "rows.csv", "--to", "set"}).exit_code, 1);
  EXPECT_EQ(virga({"import", "rows.csv", "--to", "set", "--overwrite", "--format", "cvs"}).exit_code, 2);
  EXPECT_EQ(virga({"import", "rows.csv", "--to", "other", "--label", "nothing"}).exit_code, 2);
  EXPECT_FALSE(exists("other/manifest.json"));
  folder_.write("bad.svm", libsvm_rows(20) + "oops\n");
  EXPECT_EQ(virga({"import", "bad.svm", "--to", "bad"}).exit_code, 3);
  EXPECT_EQ(document({"import", "bad.svm", "--to", "bad", "--skip-bad", "1"})["skipped_rows"], 1);
}

TEST_F(TrainTest, ReportsProgressAsJsonLines) {
  const auto result =
      virga({"train", "data.svm", "--epochs", "2", "--learning-rate", "0.5", "--progress", "jsonl", "-q"});
  EXPECT_THAT(result.out, IsEmpty());
  std::size_t evaluated = 0;
  for (std::size_t begin = 0; begin < result.err.size();) {
    const auto end = result.err.find('\n', begin);
    const auto event = json::parse(result.err.substr(begin, end - begin));
    if (event["event"] == "evaluated") ++evaluated;
    begin = end + 1;
  }
  EXPECT_EQ(evaluated, 2);
}

/// A virga-ps that wants a token, and a program that knows it or not.
class OwnStoreTest : public TrainTest {
 protected:
  OwnStoreTest() { folder_.write("token", "open sesame\n"); }

  [[nodiscard]] ProgramResult train_with(const std::string& channel, const std::string& token,
                                         const std::string& engine = "process") const {
    return run_program({"train", "data.svm", "--epochs", "3", "--learning-rate", "0.5", "--engine", engine, "--workers",
                        "2", "--channel", channel},
                       folder_.path(), {"VIRGA_CHANNEL_TOKEN=" + token});
  }
};

TEST_F(OwnStoreTest, IsTrainedThroughWithItsTokenWhichIsKeptNowhere) {
  const StoreProcess store("unix:" + (folder_.path() / "s").string(), {"--token-file", folder_.path() / "token"});
  const auto result = train_with("ps:" + store.address(), "open sesame");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, testing::Not(HasSubstr("warning")));
  EXPECT_EQ(document({"show"})["run"]["settings"]["exchange"]["channel"]["value"], "ps:" + store.address());
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder_.path())) {
    if (!file.is_regular_file() || file.path().filename() == "token") continue;
    const auto bytes = read_file(file.path());
    EXPECT_THAT(std::string(as_text(bytes)), testing::Not(HasSubstr("sesame"))) << file.path();
  }
}

TEST_F(OwnStoreTest, IsAskedBeforeAnythingStarts) {
  std::string address;
  {
    const StoreProcess store("tcp:127.0.0.1:0", {"--token-file", folder_.path() / "token"});
    address = store.address();
    const auto strange = train_with("ps:" + address, "open barley");
    EXPECT_EQ(strange.exit_code, 4);
    EXPECT_THAT(strange.err, HasSubstr("exchange.channel: " + address + ": the token is wrong"));
    EXPECT_THAT(strange.err, HasSubstr("VIRGA_CHANNEL_TOKEN"));
  }
  const auto gone = train_with("ps:" + address, "open sesame");
  EXPECT_EQ(gone.exit_code, 4);
  EXPECT_THAT(gone.err, HasSubstr("exchange.channel: " + address + ": cannot connect"));
  EXPECT_THAT(gone.err, HasSubstr("virga-ps --listen " + address));
  const auto malformed = train_with("ps:nowhere", "");
  EXPECT_EQ(malformed.exit_code, 2);
  EXPECT_THAT(malformed.err, HasSubstr("--channel: not an address: \"nowhere\""));
  EXPECT_TRUE(document({"runs"})["runs"].empty());
}

TEST_F(OwnStoreTest, MayBeARedisServerWhosePasswordIsKeptNowhere) {
  const RedisServer server(RedisServer::Listens::kTcp, "open sesame");
  // By a name, which may stand for several numbers.
  const auto result = train_with(fmt::format("redis://localhost:{}", server.place().address.port), "open sesame");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, testing::Not(HasSubstr("warning")));
  EXPECT_EQ(server.ask({"DBSIZE"}).integer, 0);
  bool is_paid = false;
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder_.path())) {
    if (!file.is_regular_file() || file.path().filename() == "token") continue;
    const auto bytes = read_file(file.path());
    EXPECT_THAT(std::string(as_text(bytes)), testing::Not(HasSubstr("sesame"))) << file.path();
    if (file.path().filename() != "ledger.jsonl") continue;
    const auto ledger = read_ledger(file.path());
    ASSERT_EQ(ledger.services.size(), 1U);
    EXPECT_EQ(ledger.services[0].service, "redis");
    EXPECT_GT(ledger.services[0].writes, 0U);
    EXPECT_GT(ledger.services[0].bytes, 0U);
    is_paid = true;
  }
  EXPECT_TRUE(is_paid);
  const auto dry = run_program({"train", "data.svm", "--engine", "process", "--channel", server.uri(), "--dry-run"},
                               folder_.path(), {});
  EXPECT_EQ(dry.exit_code, 0) << dry.err;
  EXPECT_THAT(dry.out + dry.err, HasSubstr("through " + server.uri()));
}

TEST_F(OwnStoreTest, MayBeARedisServerThatSpeaksTls) {
  const RedisServer server(RedisServer::Listens::kTls, "open sesame");
  // Its name is what the certificate is for, though functions connect by number; they do not see the authority's file.
  const auto uri =
      fmt::format("rediss://localhost:{}?ca={}", server.place().address.port, TestCertificates::shared().authority());
  const auto result = train_with(uri, "open sesame", "local");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(server.ask({"DBSIZE"}).integer, 0);
  const auto strange = train_with(uri.substr(0, uri.find('?')), "open sesame");
  EXPECT_EQ(strange.exit_code, 4);
  EXPECT_THAT(strange.err, HasSubstr("its certificate is signed by nobody whom"));
  EXPECT_THAT(strange.err, HasSubstr("ca=FILE"));
}

TEST_F(OwnStoreTest, IsARedisServerThatIsAskedBeforeAnythingStarts) {
  RedisServer server(RedisServer::Listens::kTcp, "open sesame");
  const auto strange = train_with(server.uri(), "open barley");
  EXPECT_EQ(strange.exit_code, 4);
  EXPECT_THAT(strange.err, HasSubstr("exchange.channel: " + server.uri() + ": greeting: the server says: WRONGPASS"));
  EXPECT_THAT(strange.err, HasSubstr("VIRGA_CHANNEL_TOKEN"));
  EXPECT_THAT(strange.err, testing::Not(HasSubstr("barley")));
  server.kill();
  const auto gone = train_with(server.uri(), "open sesame");
  EXPECT_EQ(gone.exit_code, 4);
  EXPECT_THAT(gone.err, HasSubstr("exchange.channel: tcp:127.0.0.1:"));
  EXPECT_THAT(gone.err, HasSubstr("server runs there"));
  const auto told = train_with("redis://me:barley@127.0.0.1", "");
  EXPECT_EQ(told.exit_code, 2);
  EXPECT_THAT(told.err, testing::AllOf(HasSubstr("holds a password"), testing::Not(HasSubstr("barley"))));
  EXPECT_TRUE(document({"runs"})["runs"].empty());
}

TEST_F(OwnStoreTest, MayBeAMemcached) {
  const MemcachedService service({"-M"});
  const auto result = train_with(service.uri(), "");
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, testing::Not(HasSubstr("warning")));
  EXPECT_THAT(service.keys(), testing::IsEmpty());
  const auto gone = train_with("memcached:unix:" + (folder_.path() / "nobody").string(), "");
  EXPECT_EQ(gone.exit_code, 4);
  EXPECT_THAT(gone.err, HasSubstr("exchange.channel: memcached:unix:"));
}

TEST_F(OwnStoreTest, MayBeATableOfDynamoDbWhoseCredentialsAreKeptNowhere) {
  const DynamoService service;
  const auto train = [&](const std::string& uri) {
    return run_program({"train", "data.svm", "--epochs", "3", "--learning-rate", "0.5", "--engine", "process",
                        "--workers", "2", "--channel", uri},
                       folder_.path(), {"AWS_ACCESS_KEY_ID=AKIDTEST", "AWS_SECRET_ACCESS_KEY=open-sesame"});
  };
  const auto result = train(service.uri());
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, testing::Not(HasSubstr("warning")));
  EXPECT_EQ(service.items(), 0U);
  bool is_paid = false;
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder_.path())) {
    if (!file.is_regular_file()) continue;
    const auto bytes = read_file(file.path());
    EXPECT_THAT(std::string(as_text(bytes)), testing::Not(HasSubstr("open-sesame"))) << file.path();
    if (file.path().filename() != "ledger.jsonl") continue;
    const auto ledger = read_ledger(file.path());
    ASSERT_EQ(ledger.services.size(), 1U);
    EXPECT_EQ(ledger.services[0].service, "dynamodb");
    EXPECT_GT(ledger.services[0].writes, 0U);
    is_paid = true;
  }
  EXPECT_TRUE(is_paid);
  const auto nowhere = train("dynamodb://nowhere?region=us-east-1&endpoint=" + service.endpoint());
  EXPECT_EQ(nowhere.exit_code, 3);
  EXPECT_THAT(nowhere.err, HasSubstr("aws dynamodb create-table --table-name nowhere"));
}

TEST_F(OwnStoreTest, IsUsedAgainByARunThatIsResumed) {
  StoreProcess store("unix:" + (folder_.path() / "s").string());
  const auto flags = "--learning-rate 0.5 --engine process --workers 2 --batch-size 20 --patience 0 --epochs 60";
  const auto stopped = shell(fmt::format(
      "set -m; mkfifo events; virga train data.svm {} --channel ps:{} --out a.safetensors --progress jsonl 2> events & "
      "grep -m 1 evaluated < events > first; kill -INT %1; wait %1; echo \"exit $?\"",
      flags, store.address()));
  ASSERT_THAT(stopped.out, HasSubstr("exit 130\n"));
  store.kill();
  EXPECT_EQ(virga({"resume", "last"}).exit_code, 4);
  store.start();
  EXPECT_EQ(virga({"resume", "last"}).exit_code, 0);
  EXPECT_EQ(shell("virga train data.svm " + std::string(flags) + " --out b.safetensors").exit_code, 0);
  EXPECT_EQ(document({"inspect", "a.safetensors"})["bias"], document({"inspect", "b.safetensors"})["bias"]);
}

}  // namespace
}  // namespace virga
