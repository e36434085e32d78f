#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "virga/base/threads.h"
#include "virga/cli/program_testing.h"

namespace virga {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

class CompareTest : public testing::Test {
 protected:
  CompareTest() {
    std::string rows;
    for (int row = 0; row < 600; ++row) {
      const bool positive = row % 3 == 0;
      rows += std::string(positive == (row % 10 != 0) ? "1" : "-1") + (positive ? " 1:1" : " 2:1") + "\n";
    }
    folder_.write("data.svm", rows);
  }
  [[nodiscard]] ProgramResult compare(const std::vector<std::string>& flags) const {
    std::vector<std::string> arguments{"compare",  "data.svm", "--learning-rate", "0.5",
                                       "--epochs", "3",        "--batch-size",    "180"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    return run_program(arguments, folder_.path());
  }
  TemporaryFolder folder_;
};

TEST_F(CompareTest, PutsOneMachineAndFunctionsSideBySide) {
  const auto result = compare({"--html", "page.html", "--workers", "2"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("To a loss of 0."), HasSubstr("which all have reached"), HasSubstr("1.00x"),
                                HasSubstr("functions-directory"), HasSubstr("functions lose to one machine here"),
                                HasSubstr("rented cores")));
  EXPECT_TRUE(std::filesystem::exists(folder_.path() / "page.html"));
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "model.safetensors"));
}

TEST_F(CompareTest, IsADocumentForPrograms) {
  const auto result = compare({"--json", "--presets", "functions-ps,single", "--repeats", "2", "--workers", "2"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto document = json::parse(result.out);
  EXPECT_EQ(document["loss_is"], "reached by all");
  ASSERT_EQ(document["presets"].size(), 2U);
  const auto& functions = document["presets"][0];
  EXPECT_EQ(functions["preset"], "functions-ps");
  EXPECT_EQ(functions["workers"], 2);
  EXPECT_EQ(functions["seconds_ratio"], 1);
  EXPECT_EQ(functions["reached"], 2);
  ASSERT_EQ(functions["runs"].size(), 2U);
  EXPECT_EQ(functions["runs"][0]["seed"], 1);
  EXPECT_EQ(functions["runs"][1]["seed"], 2);
  EXPECT_GT(functions["runs"][0]["bytes"], 0);
  EXPECT_GT(functions["runs"][0]["usd"], 0);
  EXPECT_LE(functions["runs"][0]["usd_to_loss"], functions["runs"][0]["usd"]);
  EXPECT_LE(functions["runs"][0]["seconds_to_loss"], functions["runs"][0]["wall_seconds"]);
  // The same model by the same rounds.
  const auto& single = document["presets"][1]["runs"][0];
  EXPECT_EQ(single["rounds_to_loss"], functions["runs"][0]["rounds_to_loss"]);
  EXPECT_NEAR(single["best_loss"].get<double>(), functions["runs"][0]["best_loss"].get<double>(), 1e-5);
  EXPECT_EQ(single["bytes"], 0);
  const auto runs = json::parse(run_program({"runs", "--json"}, folder_.path()).out);
  EXPECT_EQ(runs["runs"].size(), 4U);
}

TEST_F(CompareTest, MarksRunsOnTooFewCores) {
  const auto workers = std::to_string(3 * usable_cores() + 1);  // of 0.4 of a processor
  const auto document = json::parse(
      compare({"--json", "--presets", "functions-ps", "--workers", workers, "--memory", "708MB", "--epochs", "1"}).out);
  EXPECT_EQ(document["presets"][0]["oversubscribed"], true);
}

TEST_F(CompareTest, SaysWhoDidNotReachTheWantedLoss) {
  const auto result = compare({"--presets", "single", "--target-loss", "0.0001"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("To a loss of 0.00010, which the job wants"),
                                HasSubstr("single: 1 of 1 runs did not reach the loss")));
}

TEST_F(CompareTest, GoesOnWithoutThosePresetsThatFail) {
  const auto result = compare({"--presets", "single,functions-ps", "--memory", "1MB", "--json"});
  EXPECT_EQ(result.exit_code, 1);
  const auto document = json::parse(result.out);
  EXPECT_EQ(document["presets"][0]["runs"][0]["error"], nullptr);
  EXPECT_THAT(document["presets"][1]["runs"][0]["error"].get<std::string>(), HasSubstr("is too small"));
}

TEST_F(CompareTest, TunesEachPresetOfAFileOfOnesOwn) {
  folder_.write("mine.toml", run_program({"presets", "single"}, folder_.path()).out + "batch_size = [60, 600]\n");
  const auto result = compare({"--json", "--presets", "mine.toml", "--tune-each", "--tune-epochs", "2"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto tuning = json::parse(result.out)["presets"][0]["tuning"];
  EXPECT_EQ(tuning["trials"], 8);
  EXPECT_EQ(tuning["epochs"], 2);
  EXPECT_EQ(tuning["values"].size(), 2U);
  // More steps learn more; the run itself has the tuned values.
  EXPECT_EQ(tuning["values"]["optimizer.batch_size"], "60");
  const auto runs = json::parse(run_program({"runs", "--json"}, folder_.path()).out)["runs"];
  EXPECT_EQ(runs.size(), 9U);
  EXPECT_EQ(json::parse(run_program({"runs", "--json", "--tag", "trial"}, folder_.path()).out)["runs"].size(), 8U);
}

TEST_F(CompareTest, EmulatesServicesThatPresetsName) {
  const auto result = compare({"--json", "--presets", "lambdaml-s3", "--emulate", "aws-2021", "--workers", "2",
                               "--epochs", "1", "--passes", "1"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto run = json::parse(result.out)["presets"][0]["runs"][0];
  const auto shown = json::parse(run_program({"show", run["run"], "--json"}, folder_.path()).out);
  // It is paid as S3.
  EXPECT_THAT(shown.dump(), HasSubstr("object-store")) << shown.dump(1);
  EXPECT_EQ(compare({"--presets", "lambdaml-s3"}).exit_code, 2);
}

TEST_F(CompareTest, ReckonsAllByOnePriceTable) {
  const auto result = compare({"--json", "--presets", "single,functions-ps", "--prices", "ibm-2021", "--epochs", "1"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto document = json::parse(result.out);
  EXPECT_EQ(document["prices"]["name"], "IBM Cloud Functions");
  const auto seconds = std::ceil(document["presets"][0]["runs"][0]["wall_seconds"].get<double>());
  EXPECT_NEAR(document["presets"][0]["usd"]["median"].get<double>(), seconds * usable_cores() * 0.05 / 3600, 1e-9);
  EXPECT_GT(document["presets"][1]["usd"]["median"], 0);
  const auto text = compare({"--presets", "functions-ps", "--prices", "ibm-2021", "--epochs", "1"});
  EXPECT_THAT(text.out,
              AllOf(HasSubstr("on IBM Cloud Functions (prices of 2021-12-06)"), HasSubstr("nothing is added for it")))
      << text.err;

  const auto refused = compare({"--presets", "single,lambdaml-s3", "--emulate", "aws-2021", "--prices", "ibm-2021"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("preset lambdaml-s3: "), HasSubstr("'object-store'")));
  folder_.write("mine.toml", "[functions]\nprices = \"ibm-2021\"\n");
  EXPECT_THAT(compare({"--presets", "single,mine.toml"}).err, HasSubstr("reckoned by one price table"));
}

TEST_F(CompareTest, ShowsWhatIsThereWhenItIsStopped) {
  const auto result = run_program(
      {"-c",
       "set -m; mkfifo events; virga compare data.svm --epochs 100000000 --patience 0 --learning-rate 0.1 "
       "--progress jsonl 2> events & run=$!; exec 3< events; grep -m 1 evaluated <&3 > first; cat <&3 > rest & "
       "kill -INT $run; wait $run; echo exit $?"},
      folder_.path(), {}, "/bin/bash");
  EXPECT_THAT(result.out, AllOf(HasSubstr("exit 130\n"), HasSubstr("PRESET"), HasSubstr("functions-ps"))) << result.err;
}

TEST_F(CompareTest, RefusesWhatItDoesNotKnow) {
  const auto unknown = compare({"--presets", "singel"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.err, AllOf(HasSubstr("no preset 'singel'"), HasSubstr("did you mean single?")));
  EXPECT_EQ(compare({"--repeats", "0"}).exit_code, 2);
  EXPECT_EQ(compare({"--html", "/nowhere/page.html"}).exit_code, 2);
  EXPECT_THAT(run_program({"runs", "--json"}, folder_.path()).err, IsEmpty());
}

TEST_F(CompareTest, PutsVirtualMachinesBesideFunctionsWithWhatTheirStartTakes) {
  const std::vector<std::string> flags{"--presets", "single,vm,functions-ps", "--workers", "2", "--epochs", "2"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), flags.begin(), flags.end());
    return compare(more);
  };
  const auto result = with({"--json", "--memory", "708MB", "--html", "page.html"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto document = json::parse(result.out);
  const double startup[] = {0, 132, 1.2};
  for (std::size_t i = 0; i < 3; ++i) {
    const auto& preset = document["presets"][i];
    EXPECT_EQ(preset["startup_seconds"], startup[i]);
    EXPECT_DOUBLE_EQ(preset["seconds_to_loss_with_startup"]["median"],
                     preset["seconds_to_loss"]["median"].get<double>() + startup[i]);
  }
  const auto& vm = document["presets"][1];
  EXPECT_EQ(vm["instance"], "c5.large");
  EXPECT_EQ(vm["vcpus"], nullptr);
  EXPECT_GE(vm["usd"]["median"], 2 * 132 * 0.085 / 3600);
  EXPECT_THAT(document["verdicts"].dump(), HasSubstr("2 virtual machines of type c5.large would take 2m 12s to start"));
  const auto page = run_program({"-c", "cat page.html"}, folder_.path(), {}, "/bin/bash").out;
  EXPECT_THAT(page, AllOf(HasSubstr("with start-up"), HasSubstr("Amazon EC2")));
  const auto text = with({});
  EXPECT_THAT(text.out, AllOf(HasSubstr("+START-UP"), HasSubstr("on AWS Lambda and Amazon EC2"))) << text.err;
}

}  // namespace
}  // namespace virga
