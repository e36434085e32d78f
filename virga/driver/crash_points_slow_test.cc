#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>

#include <gmock/gmock.h>

#include "virga/base/random.h"
#include "virga/channel/redis_testing.h"
#include "virga/collective/pattern_testing.h"
#include "virga/cost/summary.h"
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

std::size_t index_of(const CrashPoint& point) {
  const auto* const found =
      std::ranges::find_if(kCrashPoints, [&](const auto& one) { return std::string_view(one.name) == point.name; });
  return static_cast<std::size_t>(found - std::begin(kCrashPoints));
}

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
    place_.watch = [this, tokens, deaths](const Engine& engine) {
      const auto processes = engine.processes();
      all_.insert(processes.begin(), processes.end());
      std::error_code none;
      int left = 0;
      for (const auto& token : std::filesystem::directory_iterator(tokens, none)) left += token.exists() ? 1 : 0;
      if (!none) died_ = deaths - left;
    };
  }
  void expect_that_nothing_runs() const {
    for (const auto pid : all_) EXPECT_FALSE(runs(pid)) << pid;
  }
  std::set<pid_t> all_;
  int died_ = 0;  // as far as it was seen
};

TEST_P(CrashPointsTest, GivesTheBitsOfThreads) {
  const auto& [point, pattern, workers, engine] = GetParam();
  const auto run = run_of(point.epochs, workers);
  const auto expected = on_threads(run);
  place_.engine = engine;
  place_.pattern = pattern;
  // Two workers through a folder, three through a store: of every other cell a Redis server, which functions of the
  // local engine reach through their network.
  std::optional<RedisServer> redis;
  if (workers == 2) {
    place_.channel = FunctionsPlace::ChannelKind::kDirectory;
  } else if ((index_of(point) + static_cast<std::size_t>(pattern)) % 2 == 1) {
    redis.emplace(RedisServer::Listens::kTcp);
    place_.store = redis->uri();
    place_.store_token = redis->password();
  }
  let_them_die("VIRGA_CRASH_AT", point, point.deaths);

  expect_same(on_processes(run), expected);

  // A worker that dies over its answer has done what it should, and the run may know that already.
  const bool had_ended = std::string_view(point.name).ends_with("Answer");
  EXPECT_TRUE(had_ended ? died_ > 0 : report_.invocations > workers + point.epochs) << "nobody died";
  if (redis) {
    EXPECT_EQ(redis->ask({"DBSIZE"}).integer, 0);
  }
  expect_that_nothing_runs();
}

std::string name_of_crash(const testing::TestParamInfo<CrashPointsTest::ParamType>& test) {
  const auto& [point, pattern, workers, engine] = test.param;
  return std::string(point.name) + name_of(pattern) + std::to_string(workers);
}
INSTANTIATE_TEST_SUITE_P(All, CrashPointsTest,
                         testing::Combine(testing::ValuesIn(kCrashPoints), testing::ValuesIn(kPatternsOfOneThread),
                                          testing::Values(2U, 3U), testing::Values(EngineKind::kProcess)),
                         name_of_crash);
INSTANTIATE_TEST_SUITE_P(InPieces, CrashPointsTest,
                         testing::Combine(testing::Values(kCrashPoints[0], kCrashPoints[1], kCrashPoints[3]),
                                          testing::Values(Pattern::kPipelined), testing::Values(3U),
                                          testing::Values(EngineKind::kProcess)),
                         name_of_crash);
INSTANTIATE_TEST_SUITE_P(ThroughTheEngine, CrashPointsTest,
                         testing::Combine(testing::ValuesIn(kCrashPoints), testing::Values(Pattern::kScatterReduce),
                                          testing::Values(2U, 3U), testing::Values(EngineKind::kLocal)),
                         name_of_crash);

/// Of expectation maximisation, which exchanges and applies once an epoch.
class MixtureCrashPointsTest : public CrashPointsTest {};

TEST_P(MixtureCrashPointsTest, GivesTheBitsOfThreads) {
  const auto& [point, pattern, workers, engine] = GetParam();
  Job job;
  job.functions.engine = "single";
  job.functions.workers = workers;
  job.model.kind = "gaussian-mixture";
  job.model.clusters = 3;
  job.optimizer.batch_size = 300;
  job.stop.epochs = point.epochs;
  job.stop.patience = 0;
  job.stop.improvement = 0;
  TrainingRun run;
  run.plan = plan_training(job, set_.manifest, 1);
  run.seed = job.seed;
  {
    GroupCache cache(*set_.store, set_.manifest, 1U << 24);
    find_first_centres(run, Seeding::kKMeansParallel, cache, {});
  }
  const auto expected = on_threads(run);
  place_.engine = engine;
  place_.pattern = pattern;
  let_them_die("VIRGA_CRASH_AT", point, point.deaths);

  expect_same(on_processes(run), expected);

  EXPECT_GT(report_.invocations, workers + point.epochs) << "nobody died";
  expect_that_nothing_runs();
}

INSTANTIATE_TEST_SUITE_P(Some, MixtureCrashPointsTest,
                         testing::Combine(testing::Values(CrashPoint{"AfterPut", "after_put:5", 8, 4},
                                                          CrashPoint{"BeforeApply", "before_apply:3", 8, 4},
                                                          CrashPoint{"AfterApply", "after_apply:3", 8, 4},
                                                          CrashPoint{"AfterCheckpoint", "after_checkpoint:2", 8, 4}),
                                          testing::Values(Pattern::kScatterReduce), testing::Values(2U, 3U),
                                          testing::Values(EngineKind::kProcess)),
                         name_of_crash);

class DirectCrashPointsTest : public CrashPointsTest {};

TEST_P(DirectCrashPointsTest, GivesTheBitsOfThreads) {
  const auto& [point, pattern, workers, engine] = GetParam();
  const auto run = run_of(point.epochs, workers);
  const auto expected = on_threads(run);
  place_.engine = engine;
  place_.pattern = pattern;
  place_.channel = FunctionsPlace::ChannelKind::kDirect;
  let_them_die("VIRGA_CRASH_AT", point, point.deaths);

  expect_same(on_processes(run), expected);

  EXPECT_GT(report_.invocations, workers + point.epochs) << "nobody died";
  expect_that_nothing_runs();
}

// What somebody had put dies with him: before, while and after others take it.
INSTANTIATE_TEST_SUITE_P(Some, DirectCrashPointsTest,
                         testing::Values(std::tuple(kCrashPoints[1], Pattern::kScatterReduce, 3U, EngineKind::kProcess),
                                         std::tuple(kCrashPoints[2], Pattern::kTree, 3U, EngineKind::kProcess),
                                         std::tuple(kCrashPoints[3], Pattern::kLeader, 3U, EngineKind::kProcess)),
                         name_of_crash);

// Workers that step by themselves, and those of which each has a state of its own: what is put is rarer.
constexpr CrashPoint kRareCrashPoints[] = {
    {"BeforePut", "before_put:7", 8},
    {"AfterGet", "after_get:7", 8},
    {"BeforeApply", "before_apply:5", 8},
    {"AfterApply", "after_apply:5", 8},
    {"RoundDone", "round_done:60", 8},
    {"AfterSnapshot", "after_snapshot:2", 5, 5},
    {"BeforeCheckpoint", "before_checkpoint:4", 8},
    {"AfterCheckpoint", "after_checkpoint:4", 8},
};

class AlgorithmsDieTest : public CrashPointsTest {};

TEST_P(AlgorithmsDieTest, AndTheBitsStay) {
  const auto& [point, pattern, workers, engine] = GetParam();
  for (const AlgorithmPlan& algorithm : {AlgorithmPlan{.kind = AlgorithmKind::kModelAveraging, .every = 5},
                                         AlgorithmPlan{.kind = AlgorithmKind::kAdmm, .passes = 2, .rho = 1e-2}}) {
    auto run = run_of(point.epochs, workers);
    run.plan.algorithm = algorithm;
    place_.environment.clear();
    place_.watch = {};
    const auto expected = undisturbed(run);
    place_.engine = engine;
    place_.pattern = pattern;
    place_.channel = FunctionsPlace::ChannelKind::kDataStore;
    let_them_die("VIRGA_CRASH_AT", point, point.deaths);
    expect_same(on_processes(run), expected);
    EXPECT_GT(report_.invocations, workers + point.epochs) << "nobody died";
    expect_that_nothing_runs();
  }
}

INSTANTIATE_TEST_SUITE_P(All, AlgorithmsDieTest,
                         testing::Combine(testing::ValuesIn(kRareCrashPoints), testing::Values(Pattern::kScatterReduce),
                                          testing::Values(3U), testing::Values(EngineKind::kProcess)),
                         name_of_crash);

// Workers that are rounds apart, whose bits are those of no other run.
class ProtocolsDieTest : public CrashPointsTest {};

TEST_P(ProtocolsDieTest, AndTheModelIsAsGood) {
  const auto& [point, pattern, workers, engine] = GetParam();
  for (const AlgorithmPlan& algorithm :
       {AlgorithmPlan{.protocol = ProtocolKind::kSsp, .staleness = 2}, AlgorithmPlan{.protocol = ProtocolKind::kAsp}}) {
    auto run = run_of(point.epochs, workers);
    run.plan.algorithm = algorithm;
    place_.engine = engine;
    place_.pattern = pattern;
    let_them_die("VIRGA_CRASH_AT", point, point.deaths);
    expect_as_good(on_processes(run), run);
    EXPECT_GT(report_.invocations, workers + point.epochs) << "nobody died";
    expect_that_nothing_runs();
  }
}

INSTANTIATE_TEST_SUITE_P(All, ProtocolsDieTest,
                         testing::Combine(testing::Values(kRareCrashPoints[0], kRareCrashPoints[1], kRareCrashPoints[3],
                                                          kRareCrashPoints[5], kRareCrashPoints[7]),
                                          testing::Values(Pattern::kScatterReduce), testing::Values(3U),
                                          testing::Values(EngineKind::kProcess)),
                         name_of_crash);
INSTANTIATE_TEST_SUITE_P(ThroughTheEngine, ProtocolsDieTest,
                         testing::Combine(testing::Values(kRareCrashPoints[3]),
                                          testing::Values(Pattern::kScatterReduce), testing::Values(2U),
                                          testing::Values(EngineKind::kLocal)),
                         name_of_crash);

// Functions of three rounds each, which leave their only checkpoint when they do.
constexpr CrashPoint kShortLives[] = {
    {"AfterPut", "after_put:2", 2},
    {"BeforeApply", "before_apply:3", 2},
    {"RoundDone", "round_done:3", 2},
    {"BeforeCheckpoint", "before_checkpoint:1", 2},
    {"AfterCheckpoint", "after_checkpoint:1", 2},
    {"AfterSnapshot", "after_snapshot:1", 2, 4},
    {"BeforeAnswer", "before_answer:1", 2},
};

class ShortLivesDieTest : public CrashPointsTest {};

TEST_P(ShortLivesDieTest, AndTheBitsStay) {
  const auto& [point, pattern, workers, engine] = GetParam();
  const auto run = run_of(point.epochs, workers);
  const auto expected = on_threads(run);
  place_.engine = engine;
  place_.pattern = pattern;
  place_.rounds_per_invocation = 3;
  place_.checkpoint_interval = 60s;
  let_them_die("VIRGA_CRASH_AT", point, point.deaths);
  expect_same(on_processes(run), expected);
  // Who dies with the checkpoint written costs nobody anything: the next generation was due.
  const auto died =
      std::ranges::count_if(report_.ledger.invocations, [](const auto& one) { return !gave_answer(one); });
  EXPECT_GT(died, 0);
  expect_that_nothing_runs();
}

INSTANTIATE_TEST_SUITE_P(All, ShortLivesDieTest,
                         testing::Combine(testing::ValuesIn(kShortLives), testing::Values(Pattern::kLeader),
                                          testing::Values(2U), testing::Values(EngineKind::kProcess)),
                         name_of_crash);
INSTANTIATE_TEST_SUITE_P(ThroughTheEngine, ShortLivesDieTest,
                         testing::Combine(testing::Values(kShortLives[1], kShortLives[4]),
                                          testing::Values(Pattern::kLeader), testing::Values(2U),
                                          testing::Values(EngineKind::kLocal)),
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

/// Workers are Events, each delivered twice; nobody says of one that it has died.
class DoubledEventsTest : public CrashPointsTest {
 protected:
  DoubledEventsTest() {
    place_.engine = EngineKind::kLocal;
    place_.as_events = place_.doubles_events = true;
    place_.silence = 1s;
    place_.watch = [this](const Engine& engine) { see(engine); };
  }
  void see(const Engine& engine) {
    const auto processes = engine.processes();
    all_.insert(processes.begin(), processes.end());
    std::size_t deliveries = 0;
    std::error_code none;
    for (const auto& file : std::filesystem::directory_iterator(place_.folder / "engine" / "logs", none)) {
      std::ifstream log(file.path());
      for (std::string line; std::getline(log, line);) deliveries += line.starts_with("START ") ? 1 : 0;
    }
    deliveries_ = std::max(deliveries_, deliveries);
  }
  std::size_t deliveries_ = 0;  // of all events
};

TEST_P(DoubledEventsTest, GiveTheBitsOfThreadsThoughTheirWorkersDie) {
  const auto& [point, pattern, workers, engine] = GetParam();
  const auto run = run_of(point.epochs, workers);
  const auto expected = on_threads(run);
  place_.pattern = pattern;
  place_.channel = workers == 2 ? FunctionsPlace::ChannelKind::kDirectory : FunctionsPlace::ChannelKind::kDataStore;
  let_them_die("VIRGA_CRASH_AT", point, point.deaths);
  place_.watch = [this](const Engine& one) { see(one); };

  expect_same(on_processes(run), expected);

  EXPECT_GT(report_.invocations, workers + point.epochs) << "nobody died";
  EXPECT_GT(deliveries_, report_.invocations);
  expect_that_nothing_runs();
}

// Each death takes the time of silence.
INSTANTIATE_TEST_SUITE_P(ThroughTheEngine, DoubledEventsTest,
                         testing::Combine(testing::Values(CrashPoint{"AfterPut", "after_put:70", 6, 2},
                                                          CrashPoint{"AfterSnapshot", "after_snapshot:2", 5, 2},
                                                          CrashPoint{"BeforeRename", "before_rename:40", 6, 2}),
                                          testing::Values(Pattern::kScatterReduce), testing::Values(2U, 3U),
                                          testing::Values(EngineKind::kLocal)),
                         name_of_crash);
INSTANTIATE_TEST_SUITE_P(Alone, DoubledEventsTest,
                         testing::Combine(testing::Values(CrashPoint{"BeforeApply", "before_apply:50", 6, 2}),
                                          testing::Values(Pattern::kLeader), testing::Values(1U),
                                          testing::Values(EngineKind::kLocal)),
                         name_of_crash);

TEST_F(DoubledEventsTest, GiveTheBitsOfThreadsThroughManyGenerations) {
  const auto run = run_of(12, 2);
  const auto expected = on_threads(run);
  place_.lifetime = 1s;

  expect_same(on_processes(run), expected);

  EXPECT_GT(deliveries_, report_.invocations);
  expect_that_nothing_runs();
}

TEST_F(DoubledEventsTest, GiveTheBitsOfThreadsWhenTheyRunOutOfMemory) {
  const auto run = run_of(8, 2);
  const auto expected = on_threads(run);
  place_.memory_bytes = 128'000'000;
  let_them_die("VIRGA_EAT_AT", kCrashPoints[1], 2);
  place_.watch = [this](const Engine& one) { see(one); };

  expect_same(on_processes(run), expected);

  EXPECT_GT(report_.invocations, 2U + 8U) << "nobody died";
  expect_that_nothing_runs();
}

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
