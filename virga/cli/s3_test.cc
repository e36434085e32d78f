// A data set at S3 (OpenStack Swift) from import to model, as a user runs it.
#include <chrono>
#include <filesystem>
#include <future>
#include <thread>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "virga/base/deadline.h"
#include "virga/base/file.h"
#include "virga/cli/program_testing.h"
#include "virga/cost/ledger.h"
#include "virga/cost/price_table.h"
#include "virga/storage/object_store.h"
#include "virga/storage/swift_testing.h"

namespace virga {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class S3ProgramTest : public testing::Test {
 protected:
  S3ProgramTest() : uri_("s3://" + swift_.make_bucket() + "/sets/small") {
    std::string rows;
    for (int row = 0; row < 400; ++row) {
      rows += fmt::format("{} {}:1 9:{}\n", row % 2, 1 + row % 2, row % 7);
    }
    folder_.write("rows.svm", rows);
  }

  [[nodiscard]] ProgramResult run(const std::vector<std::string>& arguments,
                                  const std::map<std::string, std::string>& variables = {}) const {
    auto all = swift_.variables();
    for (const auto& [name, value] : variables) all[name] = value;
    std::vector<std::string> list;
    for (const auto& [name, value] : all) list.push_back(fmt::format("{}={}", name, value));
    auto result = run_program(arguments, folder_.path(), list);
    EXPECT_THAT(result.out + result.err, Not(HasSubstr("testing"))) << "the secret";
    return result;
  }

  Swift& swift_ = Swift::shared();
  TemporaryFolder folder_;
  const std::string uri_;
};

TEST_F(S3ProgramTest, ImportsInspectsTrainsAndEvaluates) {
  const auto imported = run({"import", "rows.svm", "--to", uri_, "--json"});
  ASSERT_EQ(imported.exit_code, 0) << imported.err;
  EXPECT_EQ(json::parse(imported.out)["set"], uri_);
  const auto store = open_object_store(uri_, swift_.environment());
  EXPECT_TRUE(store->exists("manifest.json"));
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "s3:"));

  const auto again = run({"import", "rows.svm", "--to", uri_});
  EXPECT_EQ(again.exit_code, 1) << again.err;
  EXPECT_THAT(again.err, HasSubstr("--overwrite"));
  EXPECT_EQ(run({"import", "rows.svm", "--to", uri_, "--overwrite"}).exit_code, 0);

  const auto inspected = run({"inspect", uri_});
  EXPECT_THAT(inspected.out, AllOf(HasSubstr(uri_), HasSubstr("rows.svm")));

  const auto trained = run({"train", uri_, "--engine", "single", "--out", "model.safetensors", "--json"});
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  ASSERT_EQ(run({"import", "rows.svm", "--to", "here"}).exit_code, 0);
  ASSERT_EQ(run({"train", "here", "--engine", "single", "--out", "of_here.safetensors"}).exit_code, 0);
  const auto model_of = [&](const std::string& file) {
    const auto shown = run({"inspect", file, "--json", "--top", "9"});
    auto document = json::parse(shown.out);
    for (const auto* name : {"file", "data", "path", "model", "job", "created"}) document.erase(name);
    return document.dump();
  };
  EXPECT_EQ(model_of("model.safetensors"), model_of("of_here.safetensors")) << "the same rows, the same bits";
  EXPECT_EQ(run({"evaluate", "model.safetensors", uri_}).exit_code, 0);
}

TEST_F(S3ProgramTest, FunctionsReadTheirDataThere) {
  ASSERT_EQ(run({"import", "rows.svm", "--to", uri_}).exit_code, 0);
  for (const auto* engine : {"process", "local"}) {
    const auto result = run({"train", uri_, "--epochs", "2", "--learning-rate", "0.5", "--engine", engine, "--workers",
                             "2", "--channel", "directory"});
    EXPECT_EQ(result.exit_code, 0) << engine << ": " << result.err;
    EXPECT_THAT(result.err, testing::ContainsRegex("object-store[ \n]+\\$"));
  }
  int ledgers = 0;
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder_.path())) {
    if (!file.is_regular_file()) continue;
    const auto bytes = read_file(file.path());
    EXPECT_THAT(std::string(as_text(bytes)), Not(HasSubstr("testing"))) << file.path();
    if (file.path().filename() != "ledger.jsonl") continue;
    const auto services = read_ledger(file.path()).services;
    ASSERT_EQ(services.size(), 1U) << "a folder carries the messages";
    EXPECT_EQ(services[0].service, "object-store");
    EXPECT_EQ(services[0].writes, 0U);
    // The manifest and a block for each of two workers, and two evaluations.
    EXPECT_GE(services[0].reads, 8U);
    EXPECT_GT(services[0].bytes, 0U);
    ++ledgers;
  }
  EXPECT_EQ(ledgers, 2);
}

TEST_F(S3ProgramTest, IsReachedOverTls) {
  const TlsFront front(swift_.address());
  std::map<std::string, std::string> variables{
      {"AWS_ENDPOINT_URL_S3", fmt::format("https://localhost:{}", front.address().port)},
      {"AWS_CA_BUNDLE", TestCertificates::shared().authority()}};
  ASSERT_EQ(run({"import", "rows.svm", "--to", uri_}, variables).exit_code, 0);
  // Functions know neither the variables nor the file, nor any name of a host.
  const auto result = run({"train", uri_, "--epochs", "2", "--learning-rate", "0.5", "--engine", "local", "--workers",
                           "2", "--channel", uri_ + "/runs"},
                          variables);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  variables["AWS_CA_BUNDLE"] = TestCertificates::shared().file("other.pem");
  const auto strange = run({"inspect", uri_}, variables);
  EXPECT_EQ(strange.exit_code, 4) << strange.err;
  EXPECT_THAT(strange.err, AllOf(HasSubstr("its certificate is signed by nobody whom"), HasSubstr("other.pem")));
}

TEST_F(S3ProgramTest, CarriesWhatFunctionsSay) {
  const auto channel = uri_.substr(0, uri_.find("/sets")) + "/runs";
  const auto result = run({"train", "rows.svm", "--epochs", "2", "--learning-rate", "0.5", "--engine", "process",
                           "--workers", "2", "--channel", channel});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, Not(HasSubstr("warning")));
  EXPECT_THAT(open_object_store(channel, swift_.environment())->list(), testing::IsEmpty());
  bool is_paid = false;
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder_.path())) {
    if (!file.is_regular_file()) continue;
    const auto bytes = read_file(file.path());
    EXPECT_THAT(std::string(as_text(bytes)), Not(HasSubstr("testing"))) << file.path();
    if (file.path().filename() != "ledger.jsonl") continue;
    const auto ledger = read_ledger(file.path());
    ASSERT_EQ(ledger.services.size(), 1U);
    EXPECT_EQ(ledger.services[0].service, "object-store");
    EXPECT_GT(ledger.services[0].writes, 0U);
    EXPECT_GT(ledger.services[0].reads, 0U);
    is_paid = true;
  }
  EXPECT_TRUE(is_paid);
  const auto nowhere = run({"train", "rows.svm", "--engine", "process", "--channel", "s3://no-such-bucket"});
  EXPECT_EQ(nowhere.exit_code, 3);
  EXPECT_THAT(nowhere.err, AllOf(HasSubstr("NoSuchBucket"), HasSubstr("aws s3 mb")));
}

TEST_F(S3ProgramTest, ModelsLieThere) {
  const auto place = uri_.substr(0, uri_.find("/sets"));
  const auto model = place + "/models/small.safetensors";
  const auto trained = run({"train", "rows.svm", "--learning-rate", "0.5", "--epochs", "2", "--out", model, "--json"});
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  EXPECT_EQ(json::parse(trained.out)["model"], model);
  ASSERT_EQ(run({"train", "rows.svm", "--learning-rate", "0.5", "--epochs", "2", "--out", "here"}).exit_code, 0);
  EXPECT_EQ(run({"predict", model, "rows.svm"}).out, run({"predict", "here", "rows.svm"}).out);
  EXPECT_EQ(run({"evaluate", model, "rows.svm"}).exit_code, 0);
  EXPECT_THAT(run({"inspect", model}).out, HasSubstr("logistic"));
  EXPECT_EQ(run({"train", "rows.svm", "--epochs", "1", "--init-model", model, "--learning-rate", "0.1"}).exit_code, 0);

  const auto absent = run({"predict", place + "/models/none.safetensors", "rows.svm"});
  EXPECT_EQ(absent.exit_code, 3);
  EXPECT_THAT(absent.err, HasSubstr("none.safetensors"));
  EXPECT_EQ(run({"train", "rows.svm", "--out", "s3://no-such-bucket/m.safetensors"}).exit_code, 3);
  EXPECT_THAT(run({"train", "rows.svm", "--out", place}).err, HasSubstr("names no object at S3"));
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "s3:"));
}

/// A run that lies at S3, from two homes: as if from two machines, but for the boot.
class S3RunTest : public S3ProgramTest {
 protected:
  S3RunTest() : place_(uri_.substr(0, uri_.find("/sets")) + "/runs/1") {
    EXPECT_EQ(run({"import", "rows.svm", "--to", uri_}).exit_code, 0);
  }
  [[nodiscard]] std::vector<std::string> train(const std::vector<std::string>& more,
                                               const std::string& engine = "process") const {
    std::vector<std::string> arguments = {"train",    uri_,   "--learning-rate", "0.5", "--batch-size", "40",
                                          "--engine", engine, "--workers",       "2",   "--patience",   "0"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  [[nodiscard]] ProgramResult elsewhere(const std::vector<std::string>& arguments) const {
    return run(arguments, {{"VIRGA_HOME", (folder_.path() / "elsewhere").string()}});
  }
  [[nodiscard]] std::string weights_of(const std::string& file) const {
    const auto document = json::parse(run({"inspect", file, "--json", "--top", "9"}).out);
    return document.at("largest_weights").dump() + document.at("bias").dump() + document.at("training").dump();
  }
  [[nodiscard]] std::vector<std::string> what_lies_there() const {
    std::vector<std::string> names;
    for (auto& object : open_object_store(place_, swift_.environment())->list()) names.push_back(object.name);
    return names;
  }
  /// In a shell, a run there, whose rounds take their time, and which is killed once it trains.
  [[nodiscard]] ProgramResult killed_run(const std::string& epochs) const {
    auto mine = builtin_price_table();
    mine.name = "My Cloud";
    folder_.write("mine.json", price_table_text(mine));
    std::string line;
    for (const auto& [name, value] : swift_.variables()) line += fmt::format("export {}='{}'; ", name, value);
    line += fmt::format("virga {}", fmt::join(train({"--run", place_, "--emulate", "aws-2021:s3", "--progress", "jsonl",
                                                     "--epochs", epochs, "--prices", "mine.json"}),
                                              " "));
    line +=
        " > out 2> err & run=$!; until grep -q '\"progress\"' err; do sleep 0.05; "
        "kill -0 $run || { cat err; exit 1; }; done; kill -9 $run; wait $run; echo \"exit $?\"";
    return run_program({"-c", line}, folder_.path(), {}, "/bin/bash");
  }
  const std::string place_;
};

TEST_F(S3RunTest, IsSeenFromEverywhere) {
  const auto result = run(train({"--epochs", "3", "--run", place_, "--out", "there.safetensors"}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(what_lies_there(),
              testing::UnorderedElementsAre("config.json", "functions.json", "history.jsonl", "ledger.jsonl",
                                            "model.safetensors", "prices.json", "status.json", "validation.json"))
      << "what functions shared is gone";
  ASSERT_EQ(run(train({"--epochs", "3", "--out", "here.safetensors"})).exit_code, 0);
  EXPECT_EQ(weights_of("there.safetensors"), weights_of("here.safetensors"));

  const auto shown = json::parse(elsewhere({"show", place_, "--json"}).out)["run"];
  EXPECT_EQ(shown["state"], "finished");
  EXPECT_EQ(shown["uri"], place_);
  EXPECT_EQ(shown["history"].size(), 3U);
  EXPECT_GT(shown["cost"]["usd"], 0);
  EXPECT_THAT(elsewhere({"logs", place_}).err, HasSubstr("no function of it died"));
  EXPECT_EQ(elsewhere({"predict", place_ + "/model.safetensors", "rows.svm"}).exit_code, 0);
  const auto again = elsewhere(train({"--run", place_}));
  EXPECT_THAT(again.err, AllOf(HasSubstr("a run lies there"), HasSubstr("virga resume " + place_)));
  EXPECT_THAT(elsewhere({"resume", place_}).err, HasSubstr("left nothing to go on with"));
  EXPECT_EQ(elsewhere({"stop", place_}).exit_code, 1);
  EXPECT_EQ(elsewhere({"rm", place_}).exit_code, 0);
  EXPECT_THAT(what_lies_there(), testing::IsEmpty());
  const auto gone = elsewhere({"show", place_});
  EXPECT_EQ(gone.exit_code, 3);
  EXPECT_THAT(gone.err, HasSubstr("no run lies there"));
  EXPECT_EQ(run({"rm", "last"}).exit_code, 0) << "one of its own";
}

TEST_F(S3RunTest, GoesOnFromItsUriAloneAfterItsDriverWasKilled) {
  const auto killed = killed_run("2");
  ASSERT_THAT(killed.out, HasSubstr("exit 137")) << killed.err;
  std::filesystem::remove_all(folder_.path() / "home");
  std::filesystem::remove(folder_.path() / "mine.json");
  EXPECT_EQ(json::parse(elsewhere({"show", place_, "--json"}).out)["run"]["state"], "died");
  const auto rest = elsewhere({"resume", place_, "--json"});
  ASSERT_EQ(rest.exit_code, 0) << rest.err;
  EXPECT_EQ(json::parse(rest.out)["ended_by"], "epochs");
  EXPECT_EQ(json::parse(rest.out)["cost"]["prices"]["name"], "My Cloud");
  EXPECT_EQ(json::parse(elsewhere({"show", place_, "--json"}).out)["run"]["history"].size(), 2U);

  ASSERT_EQ(run(train({"--epochs", "2", "--out", "here"})).exit_code, 0);
  EXPECT_EQ(weights_of("model.safetensors"), weights_of("here"));
  EXPECT_THAT(what_lies_there(), testing::Not(testing::Contains(testing::StartsWith("functions/"))));
}

TEST_F(S3RunTest, IsStoppedFromAnotherMachine) {
  const auto store = open_object_store(place_, swift_.environment());
  auto trained = std::async(std::launch::async, [&] {
    return run(train({"--run", place_, "--emulate", "aws-2021:s3", "--epochs", "1000000", "--seconds", "90"}, "local"));
  });
  const auto deadline = Deadline::in(std::chrono::seconds(60));
  while (store->list("functions/registers/r/progress/").empty() && !deadline.passed()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  auto status = json::parse(as_text(store->get("status.json")));
  status["process"]["boot"] = "another machine's";
  store->put("status.json", as_bytes(status.dump()));
  EXPECT_THAT(elsewhere({"resume", place_}).err, HasSubstr("is still running"));

  const auto stopped = elsewhere({"stop", place_, "--json"});
  EXPECT_EQ(trained.get().exit_code, 130);
  ASSERT_EQ(stopped.exit_code, 0) << stopped.err;
  EXPECT_EQ(json::parse(stopped.out)["state"], "stopped");
  EXPECT_EQ(json::parse(stopped.out)["resume"], "virga resume " + place_);
  EXPECT_THAT(what_lies_there(), testing::Contains("functions/job.json"));
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder_.path())) {
    if (!file.is_regular_file()) continue;
    const auto bytes = read_file(file.path());
    EXPECT_THAT(std::string(as_text(bytes)), Not(HasSubstr("testing"))) << file.path();
  }
}

TEST_F(S3ProgramTest, SaysWhatIsMissing) {
  const auto nothing = run({"train", uri_, "--engine", "single"});
  EXPECT_EQ(nothing.exit_code, 3);
  EXPECT_THAT(nothing.err, AllOf(HasSubstr(uri_), HasSubstr("there is no data set here")));
  const auto no_bucket = run({"import", "rows.svm", "--to", "s3://no-such-bucket/set"});
  EXPECT_EQ(no_bucket.exit_code, 3);
  EXPECT_THAT(no_bucket.err, AllOf(HasSubstr("NoSuchBucket"), HasSubstr("aws s3 mb")));
  const auto wrong = run({"import", "rows.svm", "--to", uri_}, {{"AWS_SECRET_ACCESS_KEY", "wrong"}});
  EXPECT_EQ(wrong.exit_code, 4);
  const auto nobody =
      run({"import", "rows.svm", "--to", uri_}, {{"AWS_ACCESS_KEY_ID", ""}, {"AWS_SECRET_ACCESS_KEY", ""}});
  EXPECT_EQ(nobody.exit_code, 4);
  EXPECT_THAT(nobody.err, HasSubstr("aws configure"));
}

}  // namespace
}  // namespace virga
