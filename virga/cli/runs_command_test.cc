// runs, show and rm over real records.
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "virga/base/file.h"
#include "virga/cli/program_testing.h"
#include "virga/cost/ledger.h"
#include "virga/driver/run_record.h"

namespace virga {
namespace {

using testing::HasSubstr;

class RunsTest : public testing::Test {
 protected:
  [[nodiscard]] std::filesystem::path home() const { return folder_.path() / "home"; }
  [[nodiscard]] ProgramResult virga(const std::vector<std::string>& arguments) const {
    return run_program(arguments, folder_.path());
  }
  [[nodiscard]] static Settings settings(const std::string& name, const std::string& tag,
                                         const std::string& engine = "single") {
    Settings settings;
    for (const auto& [section, key, text] : {std::array<std::string, 3>{"data", "train", "/x/a9a.gz"},
                                             {"functions", "engine", engine},
                                             {"output", "name", name},
                                             {"output", "tags", tag}}) {
      const auto* option = find_option(section, key);
      settings.set({{.option = option, .value = parse_value(*option, text, "test"), .source = Source::kFlag}});
    }
    return settings;
  }
  /// Worker 0 died and was started again; one evaluation. Each took a second.
  void write_ledger(const std::string& run) const {
    LedgerWriter ledger(home() / "runs" / run / "ledger.jsonl");
    InvocationRecord record{.task = "worker",
                            .generation = 1,
                            .end = "crashed",
                            .seconds = 1,
                            .billed = std::chrono::seconds(1),
                            .memory_bytes = 1'024'000'000,
                            .said = "out of\npatience\n"};
    ledger.add(record);
    record.generation = 2;
    record.end = "done";
    record.start_seconds = 1;
    record.said = "";
    ledger.add(record);
    record.task = "evaluate";
    record.generation = 0;
    record.epoch = 1;
    record.end = "evaluated";
    ledger.add(record);
  }
  std::string finished_run(int minute, const std::string& name, const std::string& tag,
                           const std::string& engine = "single") const {
    RunRecord record(home(), settings(name, tag, engine),
                     std::chrono::system_clock::time_point(std::chrono::minutes(29920638 + minute)));
    record.resolve({{"model.kind", "logistic"}});
    for (std::uint32_t epoch = 1; epoch <= 3; ++epoch) {
      record.add({.epoch = epoch,
                  .train_loss = 0.5 / epoch,
                  .validation_loss = epoch == 2 ? 0.25 : 0.5,
                  .learning_rate = 0.1,
                  .examples = std::uint64_t{1000} * epoch,
                  .seconds = 0.5 * epoch});
    }
    record.finish(RunState::kFinished, "epochs", 0, "");
    return record.id();
  }
  TemporaryFolder folder_;
};

TEST_F(RunsTest, AreListedWithTheNewestLast) {
  const auto first = finished_run(0, "one", "x");
  const auto second = finished_run(1, "two", "y");
  const auto result = virga({"runs"});
  EXPECT_THAT(result.out, testing::ContainsRegex(first + " +one +finished \\(epochs\\) +a9a.gz +logistic +3 +0.25000"));
  EXPECT_LT(result.out.find(first), result.out.find(second));
  EXPECT_EQ(virga({"runs", "-q"}).out, first + "\n" + second + "\n");
  EXPECT_EQ(virga({"runs", "-q", "--tag", "y"}).out, second + "\n");
  const auto document = nlohmann::json::parse(virga({"runs", "--json"}).out);
  EXPECT_EQ(document["schema_version"], 1);
  EXPECT_EQ(document["runs"][1]["name"], "two");
  EXPECT_EQ(document["runs"][1]["best_loss"], 0.25);
}

TEST_F(RunsTest, AreShownWithTableAndPlot) {
  const auto id = finished_run(0, "one", "x");
  const auto result = virga({"show"});
  EXPECT_THAT(result.out, HasSubstr("Run " + id + " (one)"));
  EXPECT_THAT(result.out, testing::ContainsRegex("2 +0.25000 +0.25000 +0.1 +2,000 +1.00 s +best\n"));
  EXPECT_THAT(result.out, HasSubstr("o training loss   * validation loss"));
  EXPECT_EQ(virga({"show", "one"}).out, result.out);
  const auto document = nlohmann::json::parse(virga({"show", id, "--json"}).out);
  EXPECT_EQ(document["run"]["history"].size(), 3);
  EXPECT_EQ(document["run"]["resolved"]["model.kind"], "logistic");
  EXPECT_EQ(document["run"]["settings"]["seed"]["source"], "default");
}

TEST_F(RunsTest, OnFunctionsAreShownWithTheirCost) {
  const auto id = finished_run(0, "one", "x");
  EXPECT_EQ(nlohmann::json::parse(virga({"show", "--json"}).out)["run"]["cost"], nullptr);
  write_ledger(id);
  const auto text = virga({"show"});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("  invocations  3, 1 of them workers that died\n"));
  EXPECT_THAT(text.out, testing::ContainsRegex("The run would cost \\$0.0000[0-9]+ on AWS Lambda \\(prices of "));
  EXPECT_THAT(text.out, testing::ContainsRegex("\nworker 0 +2 +1 +2.00 s +2 "));
  EXPECT_THAT(text.out, testing::ContainsRegex("\nevaluate +1 +0 +1.00 s +1 "));
  EXPECT_THAT(text.out, HasSubstr("time of training"));
  std::ofstream(home() / "runs" / id / "functions.json")
      << R"({"sandbox":"memory by cgroup","wall":{"wall_seconds":4,"wait_seconds":3,"driver_seconds":1,"keep_seconds":"x"}})";
  EXPECT_THAT(virga({"show"}).out, testing::AllOf(HasSubstr("  wall time    4.00 s: wait 75 %, driver 25 %\n"),
                                                  HasSubstr("  limits       memory by cgroup\n")));
  EXPECT_THAT(text.out, HasSubstr("dollars"));
  const auto run = nlohmann::json::parse(virga({"show", "--json"}).out)["run"];
  EXPECT_EQ(run["cost"]["usd_kind"], "estimated");
  EXPECT_EQ(run["cost"]["invocations"], 3);
  EXPECT_GT(run["history"][2]["usd"], run["history"][0]["usd"]);
}

TEST_F(RunsTest, AreWrittenAsAPage) {
  write_ledger(finished_run(0, "<b>one</b>", "x"));
  const auto result = virga({"show", "--html", "page.html"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, testing::IsEmpty());
  const auto bytes = read_file(folder_.path() / "page.html");
  EXPECT_THAT(std::string(as_text(bytes)),
              testing::AllOf(HasSubstr("&lt;b&gt;one"), testing::Not(HasSubstr("<b>one"))));
  EXPECT_EQ(virga({"show", "--html", "no/such/folder.html"}).exit_code, 3);
}

TEST_F(RunsTest, ThatAreOverHaveTheLastWordsOfTheirDead) {
  const auto id = finished_run(0, "one", "x");
  EXPECT_THAT(virga({"logs"}).err, HasSubstr("had no functions"));
  EXPECT_EQ(virga({"logs"}).exit_code, 3);
  const auto other = finished_run(1, "two", "x", "process");
  EXPECT_THAT(virga({"logs", "two"}).err, HasSubstr("no function of it died"));
  write_ledger(other);
  const auto result = virga({"logs", "two"});
  EXPECT_EQ(result.out, "0.1       out of\n0.1       patience\n");
  EXPECT_THAT(result.err, HasSubstr("were deleted when it ended; above are the last words"));
  EXPECT_EQ(virga({"logs", "two", "--worker", "1"}).out, "");
  const auto document = nlohmann::json::parse(virga({"logs", "two", "--json"}).out);
  EXPECT_EQ(document["logs_deleted"], true);
  EXPECT_EQ(document["lines"][1],
            (nlohmann::json{{"task", "worker"}, {"worker", 0}, {"generation", 1}, {"line", "patience"}}));
}

TEST_F(RunsTest, HaveTheLogsOfBothEngines) {
  const auto id = finished_run(0, "one", "x", "local");
  const auto functions = home() / "runs" / id / "functions";
  std::filesystem::create_directories(functions / "engine" / "logs");
  std::filesystem::create_directories(functions / "logs");
  std::ofstream(functions / "engine" / "logs" / "virga-1-000001.log")
      << "START RequestId: a Version: $LATEST\na worker 1 generation 2 begins, 9 ms left\nhello\n";
  std::ofstream(functions / "logs" / "worker-3-1.log") << "one\ntwo\nthree\n";
  EXPECT_EQ(virga({"logs", "one"}).out,
            "1.2       START RequestId: a Version: $LATEST\n1.2       a worker 1 generation 2 begins, 9 ms left\n"
            "1.2       hello\n3.1       one\n3.1       two\n3.1       three\n");
  EXPECT_EQ(virga({"logs", "--tail", "1", "-f"}).out, "1.2       hello\n3.1       three\n");
  EXPECT_EQ(virga({"logs", "--worker", "3", "--tail", "2"}).out, "3.1       two\n3.1       three\n");
  EXPECT_EQ(virga({"logs", "--follow", "--json"}).exit_code, 2);
  EXPECT_EQ(virga({"logs", "--worker", "-1"}).exit_code, 2);
}

TEST_F(RunsTest, ThatAreOverAreNotStopped) {
  static_cast<void>(finished_run(0, "one", "x"));
  const auto result = virga({"stop", "one"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("is not running: finished"));
  EXPECT_EQ(virga({"stop", "nothing"}).exit_code, 3);
  EXPECT_EQ(virga({"stop"}).exit_code, 2);
  EXPECT_EQ(virga({"stop", "one", "--timeout", "soon"}).exit_code, 2);
}

TEST_F(RunsTest, AreRemovedAllOrNone) {
  const auto first = finished_run(0, "one", "x");
  const auto second = finished_run(1, "two", "y");
  EXPECT_EQ(virga({"rm", first, "nonsense"}).exit_code, 3);
  EXPECT_EQ(virga({"runs", "-q"}).out, first + "\n" + second + "\n");
  EXPECT_EQ(virga({"rm", first}).exit_code, 0);
  EXPECT_EQ(virga({"runs", "-q"}).out, second + "\n");
  EXPECT_EQ(virga({"rm"}).exit_code, 2);
}

TEST_F(RunsTest, ThatRunAreNotRemoved) {
  const RunRecord record(home(), settings("now", "x"), std::chrono::system_clock::now());
  const auto result = virga({"rm", "now"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("is running"));
  EXPECT_THAT(virga({"runs"}).out, HasSubstr("running"));
}

}  // namespace
}  // namespace virga
