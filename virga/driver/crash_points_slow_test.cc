#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <tuple>

#include <gmock/gmock.h>

#include "virga/base/random.h"
#include "virga/collective/pattern_testing.h"
#include "virga/driver/functions_run_testing.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using EngineKind = FunctionsPlace::EngineKind;

/// Is it there, if only as a zombie?
bool runs(pid_t pid) { return ::kill(pid, 0) == 0; }

/// A point, and a passage that comes after a generation has got further than the one before it.
struct CrashPoint {
  const char* name;
  const char* at;
  std::uint32_t epochs;
  int deaths = 8;  ///< after which nobody dies any more: the run is to get to its end
};
std::ostream& operator<<(std::ostream& out, const CrashPoint& point) { return out << point.name; }

constexpr CrashPoint kCrashPoints[] = {
    {"BeforePut", "before_put:70", 8},
    {"AfterPut", "after_put:70", 8},
    {"BeforeGet", "before_get:70", 8},
    {"AfterGet", "after_get:70", 8},
    {"BeforeApply", "before_apply:50", 8},
    {"AfterApply", "after_apply:50", 8},
    {"RoundDone", "round_done:50", 8},
    {"BeforeReport", "before_report:1", 8, 3},
    {"AfterReport", "after_report:1", 8, 3},
    {"BeforeSnapshot", "before_snapshot:2", 5},
    {"AfterSnapshot", "after_snapshot:2", 5},
    {"BeforeCheckpoint", "before_checkpoint:50", 8},
    {"AfterCheckpoint", "after_checkpoint:50", 8},
    {"BeforeRename", "before_rename:40", 8},  // of a checkpoint, a snapshot, a register
    {"AfterRename", "after_rename:40", 8},
    {"BeforeAnswer", "before_answer:1", 5, 3},  // of workers and evaluations
    {"AfterAnswer", "after_answer:1", 5, 3},
};

class CrashPointsTest : public FunctionsFixture,
                        public testing::WithParamInterface<std::tuple<CrashPoint, Pattern, unsigned, EngineKind>> {
 protected:
  /// Functions die at the n-th passage of a crash point, as `variable` says (each counts by itself), until so many
  /// have.
  void let_them_die(const char* variable, const CrashPoint& point, int deaths) {
    const auto tokens = place_.folder / "tokens";
    std::filesystem::create_directories(tokens);
    for (int i = 0; i < deaths; ++i) std::ofstream(tokens / std::to_string(i)) << "die";
    place_.environment = {{variable, point.at}, {"VIRGA_CRASH_TOKENS", tokens.string()}};
    place_.watch = [this](const Engine& engine) {
      const auto processes = engine.processes();
      all_.insert(processes.begin(), processes.end());
    };
  }
  void expect_that_nothing_runs() const {
    for (const auto pid : all_) EXPECT_FALSE(runs(pid)) << pid;
  }
  std::set<pid_t> all_;
};

TEST_P(CrashPointsTest, GivesTheBitsOfThreads) {
  const auto& [point, pattern, workers, engine] = GetParam();
  const auto run = run_of(point.epochs, workers);
  const auto expected = on_threads(run);
  place_.engine = engine;
  place_.pattern = pattern;
  place_.channel = workers == 2 ? FunctionsPlace::ChannelKind::kDirectory : FunctionsPlace::ChannelKind::kDataStore;
  let_them_die("VIRGA_CRASH_AT", point, point.deaths);

  expect_same(on_processes(run), expected);

  // Who dies once the platform has its answer has done what it should.
  const bool had_answered = engine == EngineKind::kLocal && std::string_view(point.name) == "AfterAnswer";
  EXPECT_TRUE(had_answered || report_.invocations > workers + point.epochs) << "nobody died";
  expect_that_nothing_runs();
}

std::string name_of_crash(const testing::TestParamInfo<CrashPointsTest::ParamType>& test) {
  const auto& [point, pattern, workers, engine] = test.param;
  return std::string(point.name) + name_of(pattern) + std::to_string(workers);
}
INSTANTIATE_TEST_SUITE_P(All, CrashPointsTest,
                         testing::Combine(testing::ValuesIn(kCrashPoints), testing::ValuesIn(kPatterns),
                                          testing::Values(2U, 3U), testing::Values(EngineKind::kProcess)),
                         name_of_crash);
INSTANTIATE_TEST_SUITE_P(ThroughTheEngine, CrashPointsTest,
                         testing::Combine(testing::ValuesIn(kCrashPoints), testing::Values(Pattern::kScatterReduce),
                                          testing::Values(2U, 3U), testing::Values(EngineKind::kLocal)),
                         name_of_crash);

class MemoryRunsOutTest : public CrashPointsTest {};

TEST_P(MemoryRunsOutTest, AndTheBitsStay) {
  const auto& [point, pattern, workers, engine] = GetParam();
  const auto run = run_of(point.epochs, workers);
  const auto expected = on_threads(run);
  place_.engine = engine;
  place_.pattern = pattern;
  place_.memory_bytes = 128'000'000;
  constexpr int kDeaths = 3;
  let_them_die("VIRGA_EAT_AT", point, kDeaths);

  expect_same(on_processes(run), expected);

  int ran_out = 0;
  for (const auto& invocation : report_.ledger.invocations) ran_out += invocation.end == "out_of_memory" ? 1 : 0;
  // Who takes long over it, as others have the processor, may have been given up before.
  EXPECT_GE(ran_out, 1);
  EXPECT_LE(ran_out, kDeaths);
  expect_that_nothing_runs();
}

INSTANTIATE_TEST_SUITE_P(ThroughTheEngine, MemoryRunsOutTest,
                         testing::Combine(testing::Values(kCrashPoints[1], kCrashPoints[12]),
                                          testing::Values(Pattern::kScatterReduce), testing::Values(2U),
                                          testing::Values(EngineKind::kLocal)),
                         name_of_crash);

class RandomKillsTest : public FunctionsFixture, public testing::WithParamInterface<std::tuple<unsigned, EngineKind>> {
 protected:
  [[nodiscard]] std::string newest_checkpoint() const {
    std::string newest;
    std::error_code none;
    for (const auto& file : std::filesystem::directory_iterator(place_.folder / "checkpoints", none)) {
      newest = std::max(newest, file.path().filename().string());
    }
    return newest;
  }
};

TEST_P(RandomKillsTest, GiveTheBitsOfThreads) {
  constexpr int kKills = 50;
  constexpr int kKillsInARow = 3;  // without a newer checkpoint: the run is to go on
  const auto [workers, kind] = GetParam();
  const auto run = run_of(30, workers);
  const auto expected = on_threads(run);
  place_.engine = kind;
  place_.pattern = kPatterns[workers % 3];
  const Random random(workers, Purpose::kTest);
  std::uint64_t look = 0;
  int kills = 0, in_a_row = 0;
  std::string newest;
  std::set<pid_t> all;
  place_.watch = [&](const Engine& engine) {
    const auto processes = engine.processes();
    all.insert(processes.begin(), processes.end());
    if (processes.empty() || kills == kKills || random.below(6, 0, look++) > 0) return;
    if (const auto checkpoint = newest_checkpoint(); checkpoint != newest) {
      newest = checkpoint;
      in_a_row = 0;
    }
    if (++in_a_row > kKillsInARow) return;
    ::kill(processes[random.below(processes.size(), 1, look)], SIGKILL);
    ++kills;
  };

  while (kills < kKills) {
    newest.clear();
    in_a_row = 0;
    expect_same(on_processes(run), expected);
  }

  for (const auto pid : all) EXPECT_FALSE(runs(pid)) << pid;
}

INSTANTIATE_TEST_SUITE_P(Workers, RandomKillsTest,
                         testing::Combine(testing::Values(1U, 2U, 3U, 4U), testing::Values(EngineKind::kProcess)));
INSTANTIATE_TEST_SUITE_P(ThroughTheEngine, RandomKillsTest,
                         testing::Combine(testing::Values(1U, 3U), testing::Values(EngineKind::kLocal)));

}  // namespace
}  // namespace virga
