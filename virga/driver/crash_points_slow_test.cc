#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
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

/// Every function that is invoked meanwhile dies at the n-th passage of a crash point; it counts by itself.
class CrashAt {
 public:
  explicit CrashAt(const std::string& point) {
    ::setenv("VIRGA_CRASH_AT", point.c_str(), 1);  // NOLINT(concurrency-mt-unsafe): there is one thread
  }
  ~CrashAt() { ::unsetenv("VIRGA_CRASH_AT"); }  // NOLINT(concurrency-mt-unsafe): there is one thread
  CrashAt(const CrashAt&) = delete;
  CrashAt& operator=(const CrashAt&) = delete;
};

/// Is it there, if only as a zombie?
bool runs(pid_t pid) { return ::kill(pid, 0) == 0; }

/// A point, and a passage that comes after a generation has got further than the one before it.
struct CrashPoint {
  const char* name;
  const char* at;
  std::uint32_t epochs;
  std::size_t doomed = 16;  ///< who comes after so many processes lives: the run is to get to its end
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
    {"BeforeReport", "before_report:1", 8, 6},
    {"AfterReport", "after_report:1", 8, 6},
    {"BeforeSnapshot", "before_snapshot:2", 5},
    {"AfterSnapshot", "after_snapshot:2", 5},
    {"BeforeCheckpoint", "before_checkpoint:50", 8},
    {"AfterCheckpoint", "after_checkpoint:50", 8},
    {"BeforeRename", "before_rename:40", 8},  // of a checkpoint, a snapshot, a register
    {"AfterRename", "after_rename:40", 8},
    {"BeforeAnswer", "before_answer:1", 5, 8},  // of workers and evaluations
    {"AfterAnswer", "after_answer:1", 5, 8},
};

class CrashPointsTest : public FunctionsFixture,
                        public testing::WithParamInterface<std::tuple<CrashPoint, Pattern, unsigned>> {
 protected:
  /// Remembers all that ran, and ends the dying once there were `doomed`.
  void watch(std::size_t doomed) {
    place_.watch = [this, doomed](const Engine& engine) {
      const auto processes = engine.processes();
      all_.insert(processes.begin(), processes.end());
      if (all_.size() >= doomed) ::unsetenv("VIRGA_CRASH_AT");  // NOLINT(concurrency-mt-unsafe): as in CrashAt
    };
  }
  void expect_that_nothing_runs() const {
    for (const auto pid : all_) EXPECT_FALSE(runs(pid)) << pid;
  }
  std::set<pid_t> all_;
};

TEST_P(CrashPointsTest, GivesTheBitsOfThreads) {
  const auto& [point, pattern, workers] = GetParam();
  const auto run = run_of(point.epochs, workers);
  const auto expected = on_threads(run);
  place_.pattern = pattern;
  place_.channel = workers == 2 ? FunctionsPlace::ChannelKind::kDirectory : FunctionsPlace::ChannelKind::kDataStore;
  watch(point.doomed);
  const CrashAt crash(point.at);

  expect_same(on_processes(run), expected);

  EXPECT_GT(report_.invocations, workers + point.epochs) << "nobody died";
  expect_that_nothing_runs();
}

INSTANTIATE_TEST_SUITE_P(All, CrashPointsTest,
                         testing::Combine(testing::ValuesIn(kCrashPoints), testing::ValuesIn(kPatterns),
                                          testing::Values(2U, 3U)),
                         [](const auto& test) {
                           return std::string(std::get<0>(test.param).name) + name_of(std::get<1>(test.param)) +
                                  std::to_string(std::get<2>(test.param));
                         });

class RandomKillsTest : public FunctionsFixture, public testing::WithParamInterface<unsigned> {
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
  const auto workers = GetParam();
  const auto run = run_of(30, workers);
  const auto expected = on_threads(run);
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

INSTANTIATE_TEST_SUITE_P(Workers, RandomKillsTest, testing::Values(1U, 2U, 3U, 4U));

}  // namespace
}  // namespace virga
