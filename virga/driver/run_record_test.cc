#include "virga/driver/run_record.h"

#include <cstdlib>
#include <fstream>

#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/driver/functions_report.h"
#include "virga/driver/process.h"

namespace virga {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;
using testing::SizeIs;

// 2026-11-21 05:18:22 UTC
constexpr std::chrono::system_clock::time_point kStart{std::chrono::seconds(1795238302)};

class RunRecordTest : public testing::Test {
 protected:
  RunRecordTest() {
    std::string name = testing::TempDir() + "virga_run_XXXXXX";
    home_ = ::mkdtemp(name.data());
  }
  ~RunRecordTest() override { std::filesystem::remove_all(home_); }

  [[nodiscard]] static Settings settings(const std::string& name = "") {
    Settings settings;
    std::vector<Setting> given;
    const auto add = [&](const char* section, const char* key, const std::string& text) {
      const auto* option = find_option(section, key);
      given.push_back({.option = option,
                       .value = parse_value(*option, text, "test"),
                       .source = Source::kFlag,
                       .origin = option_flag(*option)});
    };
    add("data", "train", "a9a.gz");
    add("output", "tags", "x,y");
    if (!name.empty()) add("output", "name", name);
    settings.set(given);
    return settings;
  }

  [[nodiscard]] static HistoryEntry entry(std::uint32_t epoch, double validation) {
    return {.epoch = epoch,
            .round = epoch * std::uint64_t{10},
            .train_loss = 0.5,
            .validation_loss = validation,
            .learning_rate = 0.1,
            .examples = epoch * std::uint64_t{1000},
            .seconds = 0.25 * epoch};
  }

  std::string finished_run(const std::string& name = "") {
    RunRecord record(home_, settings(name), kStart);
    record.finish(RunState::kFinished, "epochs", 0, "");
    return record.id();
  }

  std::filesystem::path home_;
};

TEST_F(RunRecordTest, HasAReadableSortableId) {
  EXPECT_THAT(finished_run(), MatchesRegex("20261121-051822-[0-9a-f]{4}"));
}

TEST(FunctionsRecordTest, LeavesOutWhatIsNotAsItShouldBe) {
  using nlohmann::json;
  const FunctionsReport report{.driver = {{"launch", 0.5, 0.25}, {"resumed", 4, 0}},
                               .training_start_seconds = 0.75,
                               .wall = {.wall_seconds = 9.5}};
  const auto good = functions_json(report, builtin_price_table());
  const auto record = parse_functions_record(good);
  ASSERT_EQ(record.driver.size(), 2U);
  EXPECT_EQ(record.driver[1].what, "resumed");
  EXPECT_EQ(record.driver[1].start_seconds, 4);
  EXPECT_EQ(record.training_start_seconds, 0.75);
  EXPECT_EQ(record.wall_seconds, 9.5);
  for (const auto& wrong : {json(nullptr), json(-1), json(1e10), json("1"), json::array(), json::object()}) {
    auto bad = good;
    bad["training_start_seconds"] = bad["wall"]["wall_seconds"] = bad["driver"][1]["seconds"] = wrong;
    const auto rest = parse_functions_record(bad);
    EXPECT_EQ(rest.training_start_seconds, std::nullopt) << wrong;
    EXPECT_EQ(rest.wall_seconds, std::nullopt) << wrong;
    EXPECT_TRUE(rest.driver.empty()) << wrong;
    bad["wall"] = bad["driver"] = wrong;
    EXPECT_TRUE(parse_functions_record(bad).driver.empty()) << wrong;
    EXPECT_TRUE(parse_functions_record(wrong).driver.empty()) << wrong;
  }
}

TEST_F(RunRecordTest, KeepsThePricesOfARun) {
  auto mine = builtin_price_table();
  mine.name = "Mine";
  mine.functions.usd_per_request = 0.25;
  {
    RunRecord record(home_, settings("priced"), kStart);
    const auto run = find_run(home_, "priced", RunChoice::kOnly);
    EXPECT_EQ(read_run_prices(run), builtin_price_table()) << "as of records that are older than such copies";
    record.keep_prices(mine);
    record.finish(RunState::kFinished, "epochs", 0, "");
  }
  const auto run = find_run(home_, "priced", RunChoice::kOnly);
  EXPECT_EQ(read_run_prices(run), mine);
  write_file_atomically(run.folder / "prices.json", as_bytes(R"({"schema_version": 1})"));
  try {
    static_cast<void>(read_run_prices(run));
    FAIL() << "read";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCorrupt);
    EXPECT_THAT(error.what(), HasSubstr("prices.json"));
  }
}

TEST_F(RunRecordTest, NamesTheProcessThatDrivesItWhileItRuns) {
  RunRecord record(home_, settings("now"), kStart);
  const auto run = find_run(home_, "now", RunChoice::kOnly);
  EXPECT_EQ(driver_of(run), this_process());
  record.finish(RunState::kFinished, "epochs", 0, "");
  EXPECT_EQ(driver_of(run), std::nullopt);
}

TEST_F(RunRecordTest, TellsWhatHappened) {
  RunRecord record(home_, settings("first"), kStart);
  record.resolve({{"model.kind", "logistic"}});
  record.resolve({{"optimizer.learning_rate", 0.3}});
  record.add(entry(1, 0.4));
  record.add(entry(2, 0.3));
  record.add(entry(3, 0.35));
  record.finish(RunState::kFinished, "patience", 0, "all well");

  const auto run = find_run(home_, "last", RunChoice::kNewest);
  EXPECT_EQ(run.id, record.id());
  EXPECT_EQ(run.name, "first");
  EXPECT_THAT(run.tags, ElementsAre("x", "y"));
  EXPECT_EQ(run.data, "a9a.gz");
  EXPECT_EQ(run.model, "logistic");
  EXPECT_EQ(run.started_at, "2026-11-21T05:18:22Z");
  EXPECT_EQ(run.state, RunState::kFinished);
  EXPECT_EQ(run.reason, "patience");
  EXPECT_EQ(run.message, "all well");
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.history, ElementsAre(entry(1, 0.4), entry(2, 0.3), entry(3, 0.35)));
  EXPECT_EQ(run.best, 1);
  const auto config = read_run_config(run);
  EXPECT_EQ(config["resolved"]["optimizer.learning_rate"], 0.3);
  EXPECT_EQ(config["settings"]["data"]["train"]["origin"], "--train");
}

TEST_F(RunRecordTest, IsRunningUntilItIsFinished) {
  RunRecord record(home_, settings(), kStart);
  record.add(entry(1, 0.4));
  const auto run = find_run(home_, record.id(), RunChoice::kOnly);
  EXPECT_EQ(run.state, RunState::kRunning);
  EXPECT_THAT(run.history, SizeIs(1));
  EXPECT_THROW(remove_run(run), Error);
  record.finish(RunState::kStopped, "signal", 130, "");
  EXPECT_EQ(find_run(home_, record.id(), RunChoice::kOnly).exit_code, 130);
}

TEST_F(RunRecordTest, ThatIsLeftWithoutAWordHasFailed) {
  { const RunRecord record(home_, settings(), kStart); }
  EXPECT_EQ(list_runs(home_).at(0).state, RunState::kFailed);
}

TEST_F(RunRecordTest, OfAProcessThatWasKilledShowsThatItDied) {
  const auto child = ::fork();
  if (child == 0) {
    const RunRecord record(home_, settings(), kStart);
    ::_exit(0);  // no destructor runs
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_EQ(list_runs(home_).at(0).state, RunState::kDied);
}

TEST_F(RunRecordTest, IgnoresATornLastLineOfTheHistory) {
  RunRecord record(home_, settings(), kStart);
  record.add(entry(1, 0.4));
  record.finish(RunState::kFinished, "epochs", 0, "");
  std::ofstream(record.folder() / "history.jsonl", std::ios::app) << R"({"epoch":2,"rou)";
  EXPECT_THAT(list_runs(home_).at(0).history, ElementsAre(entry(1, 0.4)));
}

TEST_F(RunRecordTest, WritesNumbersThatAreNotFiniteAsNull) {
  RunRecord record(home_, settings(), kStart);
  auto diverged = entry(1, std::numeric_limits<double>::quiet_NaN());
  diverged.train_loss = std::numeric_limits<double>::infinity();
  record.add(diverged);
  const auto run = list_runs(home_).at(0);
  EXPECT_EQ(run.history.at(0).validation_loss, std::nullopt);
  EXPECT_EQ(run.best, std::nullopt);
}

TEST_F(RunRecordTest, ListsADamagedRunAmongTheOthers) {
  const auto good = finished_run();
  std::filesystem::create_directory(home_ / "runs" / "20000101-000000-0000");
  const auto runs = list_runs(home_);
  ASSERT_THAT(runs, SizeIs(2));
  EXPECT_EQ(runs[0].state, RunState::kDamaged);
  EXPECT_THAT(runs[0].reason, HasSubstr("config.json"));
  EXPECT_EQ(runs[1].id, good);
}

TEST_F(RunRecordTest, ListsNothingInAHomeThatIsNotThere) { EXPECT_THAT(list_runs(home_ / "none"), IsEmpty()); }

TEST_F(RunRecordTest, IsFoundByUniqueBeginningAndName) {
  const auto first = finished_run("one");
  const auto second = finished_run("two");
  EXPECT_EQ(find_run(home_, first, RunChoice::kOnly).id, first);
  EXPECT_EQ(find_run(home_, "two", RunChoice::kOnly).id, second);
  const auto both = [&] { static_cast<void>(find_run(home_, "2026", RunChoice::kNewest)); };
  EXPECT_THROW(both(), Error);
  try {
    static_cast<void>(find_run(home_, "twoo", RunChoice::kNewest));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNotFound);
    EXPECT_EQ(error.remedy(), "did you mean two?");
  }
}

TEST_F(RunRecordTest, OfARepeatedNameIsTheNewestUnlessOneMustBeMeant) {
  auto first = finished_run("again");
  auto second = finished_run("again");
  EXPECT_EQ(find_run(home_, "again", RunChoice::kNewest).id, std::max(first, second));
  EXPECT_THROW(static_cast<void>(find_run(home_, "again", RunChoice::kOnly)), Error);
}

TEST_F(RunRecordTest, IsRemovedWhole) {
  const auto id = finished_run();
  remove_run(find_run(home_, id, RunChoice::kOnly));
  EXPECT_THAT(list_runs(home_), IsEmpty());
  EXPECT_TRUE(std::filesystem::is_empty(home_ / "runs"));
}

TEST_F(RunRecordTest, FilesHaveTheDocumentedForm) {
  const auto id = finished_run();
  const auto folder = home_ / "runs" / id;
  std::vector<std::string> files;
  for (const auto& file : std::filesystem::directory_iterator(folder)) files.push_back(file.path().filename().string());
  EXPECT_THAT(files, testing::UnorderedElementsAre("config.json", "status.json", "history.jsonl"));
  const auto status = nlohmann::json::parse(as_text(read_file(folder / "status.json")));
  EXPECT_EQ(status["schema_version"], 1);
  EXPECT_EQ(status["process"]["pid"], ::getpid());

  RunRecord record(home_, settings(), kStart);
  record.add(entry(2, 0.25));
  const auto history = read_file(record.folder() / "history.jsonl");
  EXPECT_EQ(
      as_text(history),
      R"({"epoch":2,"examples":2000,"learning_rate":0.1,"round":20,"seconds":0.5,"train_loss":0.5,"validation_loss":0.25})"
      "\n");
}

TEST(ParseRunTest, RefusesWhatARecordDoesNotWrite) {
  EXPECT_THROW(static_cast<void>(parse_run("", "{}", "")), Error);
  EXPECT_THROW(static_cast<void>(parse_run("[]", "{}", "")), Error);
  EXPECT_THROW(static_cast<void>(parse_run(R"({"schema_version":2})", "{}", "")), Error);
  EXPECT_THROW(static_cast<void>(parse_run(std::string(100000, '['), "{}", "")), Error);
}

TEST(ProcessTest, IsAliveWhileItLivesAndNotAfterwards) {
  EXPECT_TRUE(is_alive(this_process()));
  auto reused = this_process();
  reused.start_ticks += 1;
  EXPECT_FALSE(is_alive(reused));
  auto rebooted = this_process();
  rebooted.boot = "other";
  EXPECT_FALSE(is_alive(rebooted));
  EXPECT_FALSE(is_alive({}));
}

}  // namespace
}  // namespace virga
