// Functions that are started twice, and functions that come back from the dead.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <tuple>

#include <sys/wait.h>

#include <gmock/gmock.h>

#include "virga/base/file.h"
#include "virga/collective/pattern_testing.h"
#include "virga/control/run_folder.h"
#include "virga/driver/functions_run_testing.h"
#include "virga/driver/store_process_testing.h"
#include "virga/training/split_loss.h"
#include "virga/training/state_file.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using Twin = ProcessEngine::Twin;

enum class Way : std::uint8_t { kDirectory, kEmbeddedStore, kOwnStore };
std::string name_of(Way way) {
  return way == Way::kDirectory ? "Directory" : way == Way::kEmbeddedStore ? "EmbeddedStore" : "OwnStore";
}

/// Sees all processes and checkpoints of a run; nothing may be left of it.
class WatchedFixture : public FunctionsFixture {
 protected:
  ~WatchedFixture() override {
    for (const auto pid : all_) EXPECT_NE(::kill(pid, 0), 0) << "process " << pid << " still runs";
    if (store_) {
      EXPECT_EQ(store_->messages_of(place_.run_id), 0U);
    }
  }

  void use(Way way) {
    place_.channel =
        way == Way::kDirectory ? FunctionsPlace::ChannelKind::kDirectory : FunctionsPlace::ChannelKind::kDataStore;
    if (way != Way::kOwnStore) return;
    store_ = std::make_unique<StoreProcess>("tcp:127.0.0.1:0");
    place_.store = "ps:" + store_->address();
  }

  void remember(const Engine& engine) {
    for (const auto pid : engine.processes()) all_.insert(pid);
    remember_checkpoints();
  }
  /// Whoever writes the checkpoint of a round in whichever view: it is the same, byte by byte.
  void remember_checkpoints() {
    std::error_code none;
    for (const auto& file : std::filesystem::directory_iterator(place_.folder / "checkpoints", none)) {
      const auto round = number_of(file.path().filename().string(), "");
      if (!round) continue;  // one that is being written
      const auto bytes = read_file(file.path());
      const auto known = checkpoints_.try_emplace(*round, bytes).first;
      EXPECT_EQ(bytes, known->second) << "round " << *round;
    }
  }
  [[nodiscard]] std::uint64_t newest_checkpoint() const {
    return checkpoints_.empty() ? 0 : checkpoints_.rbegin()->first;
  }

 private:
  std::unique_ptr<StoreProcess> store_;
  std::set<pid_t> all_;
  std::map<std::uint64_t, Bytes> checkpoints_;
};

class TwinsTest : public WatchedFixture,
                  public testing::WithParamInterface<std::tuple<Twin, WorkerId, Way, Pattern>> {};

TEST_P(TwinsTest, GiveTheBitsOfThreads) {
  const auto& [twin, worker, way, pattern] = GetParam();
  const auto run = run_of(4, 2);
  const auto expected = on_threads(run);
  use(way);
  place_.pattern = pattern;
  int twins = 0;
  place_.twin = [&, &twin = twin, &worker = worker](const Payload& payload) {
    // One whose twin came first says so, and is replaced: not for ever.
    const bool has_twin = payload.task == "worker" && payload.member.worker == worker &&
                          (twin == Twin::kStartsSecond || payload.member.generation == 1);
    twins += has_twin ? 1 : 0;
    return has_twin ? twin : Twin::kNone;
  };
  place_.watch = [&](const Engine& engine) { remember(engine); };

  expect_same(on_processes(run), expected);

  EXPECT_GE(twins, 1);
}

INSTANTIATE_TEST_SUITE_P(All, TwinsTest,
                         testing::Combine(testing::Values(Twin::kStartsFirst, Twin::kStartsSecond),
                                          testing::Values(0U, 1U), testing::Values(Way::kDirectory, Way::kOwnStore),
                                          testing::Values(Pattern::kLeader, Pattern::kScatterReduce)),
                         [](const auto& test) {
                           return std::string(std::get<0>(test.param) == Twin::kStartsFirst ? "First" : "Second") +
                                  "OfRank" + std::to_string(std::get<1>(test.param)) +
                                  name_of(std::get<2>(test.param)) + name_of(std::get<3>(test.param));
                         });

/// Beside one that has come far, or whose successor works.
class LateTwinsTest : public WatchedFixture, public testing::WithParamInterface<std::tuple<WorkerId, Way>> {
 protected:
  /// What a second invocation of generation 1 answers.
  [[nodiscard]] std::string answer_of_a_twin(WorkerId worker) const {
    const auto payload = place_.folder / "logs" / ("worker-" + std::to_string(worker) + "-1.json");
    auto* output = ::popen((place_.program.string() + " " + payload.string()).c_str(), "re");
    std::string answer;
    for (int c = 0; (c = std::fgetc(output)) != EOF;) answer += static_cast<char>(c);
    ::pclose(output);
    return answer;
  }
};

TEST_P(LateTwinsTest, FindThatTheyAreSuperseded) {
  const auto& [worker, way] = GetParam();
  const auto run = run_of(12, 2);
  const auto expected = on_threads(run);
  use(way);
  std::uint64_t twins = 0;
  place_.watch = [&, of = worker](const Engine& engine) {
    remember(engine);
    if (twins == 2 || newest_checkpoint() < 20 * (twins + 1)) return;
    EXPECT_THAT(answer_of_a_twin(of), HasSubstr(R"("end":"superseded")"));
    const auto processes = engine.processes();
    if (++twins == 1 && !processes.empty()) ::kill(processes[0], SIGKILL);
  };

  expect_same(on_processes(run), expected);

  EXPECT_EQ(twins, 2);
}

INSTANTIATE_TEST_SUITE_P(All, LateTwinsTest,
                         testing::Combine(testing::Values(0U, 1U), testing::Values(Way::kDirectory, Way::kOwnStore)),
                         [](const auto& test) {
                           return "OfRank" + std::to_string(std::get<0>(test.param)) + name_of(std::get<1>(test.param));
                         });

TEST_F(WatchedFixture, GivesTheBitsOfThreadsWhenAllAreTwinsAndTheirLivesAreShort) {
  const auto run = run_of(12, 2);
  const auto expected = on_threads(run);
  use(Way::kOwnStore);
  place_.lifetime = 200ms;
  place_.twin = [&](const Payload& payload) { return payload.task == "worker" ? Twin::kStartsSecond : Twin::kNone; };
  place_.watch = [&](const Engine& engine) { remember(engine); };
  expect_same(on_processes(run), expected);
}

/// Who of generation 1 gets lost, and where.
struct Loss {
  const char* name;
  unsigned workers;
  const char* at;  ///< where it stops; null: wherever `worker` happens to be
  WorkerId worker = 0;
};
std::ostream& operator<<(std::ostream& out, const Loss& loss) { return out << loss.name; }

constexpr Loss kLosses[] = {{"AloneBeforeCheckpoint", 1, "before_checkpoint:30"},
                            {"AloneBeforeSnapshot", 1, "before_snapshot:3"},
                            {"AllBeforePut", 2, "before_put:40"},
                            {"AllAfterGet", 3, "after_get:40"},
                            {"AllBeforeReport", 2, "round_done:30"},
                            {"Rank0BeforeCheckpoint", 2, "before_checkpoint:30"},
                            {"Rank0BeforeSnapshot", 3, "before_snapshot:3"},
                            {"Rank0AfterSnapshot", 2, "after_snapshot:3"},
                            {"Rank0Somewhere", 3, nullptr, 0},
                            {"Rank1Somewhere", 2, nullptr, 1},
                            {"Rank2Somewhere", 3, nullptr, 2}};

/// Functions of generation 1 that stop and are taken for dead, and go on in the middle of their successors' work.
class ZombiesFixture : public WatchedFixture {
 protected:
  ~ZombiesFixture() override { ::unsetenv("VIRGA_STOP_AT"); }  // NOLINT(concurrency-mt-unsafe): there is one thread

  static char state_of(pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::stringstream text;
    text << file.rdbuf();
    const auto line = text.str();
    const auto end_of_name = line.rfind(')');
    return end_of_name == std::string::npos ? 'X' : line[end_of_name + 2];
  }
  /// Does it work as generation 1 of `worker`?
  static bool is_first_of(pid_t pid, WorkerId worker) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/cmdline");
    std::stringstream text;
    text << file.rdbuf();
    return text.str().find("/worker-" + std::to_string(worker) + "-1.json") != std::string::npos;
  }

  /// Takes all that have stopped for dead.
  void lose_the_stopped(Engine& engine) {
    for (const auto pid : engine.processes()) {
      if (state_of(pid) != 'T' || !zombies_.insert(pid).second) continue;
      dynamic_cast<ProcessEngine&>(engine).lose(pid);
      lost_at_ = newest_checkpoint();
      ::unsetenv("VIRGA_STOP_AT");  // NOLINT(concurrency-mt-unsafe): there is one thread
    }
  }
  void wake_zombies() const {
    for (const auto pid : zombies_) ::kill(pid, SIGCONT);
  }
  /// Each ends by itself, and not with an error.
  void expect_that_zombies_end() {
    const auto deadline = std::chrono::steady_clock::now() + 20s;
    for (const auto pid : zombies_) {
      siginfo_t info{};
      while (info.si_pid == 0 && std::chrono::steady_clock::now() < deadline) {
        ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT), 0);
        remember_checkpoints();
        std::this_thread::sleep_for(1ms);
      }
      EXPECT_EQ(info.si_pid, pid) << "it lives on";
      EXPECT_EQ(info.si_code, CLD_EXITED);
      EXPECT_EQ(info.si_status, 0) << "it failed";
    }
  }

  std::set<pid_t> zombies_;
  std::uint64_t lost_at_ = 0;
};

class ZombiesTest : public ZombiesFixture, public testing::WithParamInterface<std::tuple<Loss, Way>> {};

TEST_P(ZombiesTest, DoNoHarmAndEnd) {
  constexpr std::uint64_t kRoundsWithout = 8;
  const auto& [loss, way] = GetParam();
  const auto run = run_of(12, loss.workers);
  const auto expected = on_threads(run);
  use(way);
  place_.pattern = kPatterns[loss.workers % 3];
  if (loss.at != nullptr) ::setenv("VIRGA_STOP_AT", loss.at, 1);  // NOLINT(concurrency-mt-unsafe): as above
  bool woken = false;
  place_.watch = [&, &loss = loss](Engine& engine) {
    remember(engine);
    if (loss.at == nullptr && zombies_.empty() && newest_checkpoint() >= kRoundsWithout) {
      for (const auto pid : engine.processes()) {
        if (!is_first_of(pid, loss.worker)) continue;
        ::kill(pid, SIGSTOP);
        while (state_of(pid) == 'R' || state_of(pid) == 'S' || state_of(pid) == 'D') std::this_thread::sleep_for(1ms);
      }
    }
    lose_the_stopped(engine);
    if (woken || zombies_.empty() || newest_checkpoint() < lost_at_ + kRoundsWithout) return;
    woken = true;
    wake_zombies();
    expect_that_zombies_end();
  };

  expect_same(on_processes(run), expected);

  EXPECT_TRUE(woken);
  EXPECT_GT(report_.views, 1U);
}

INSTANTIATE_TEST_SUITE_P(All, ZombiesTest,
                         testing::Combine(testing::ValuesIn(kLosses),
                                          testing::Values(Way::kDirectory, Way::kEmbeddedStore)),
                         [](const auto& test) {
                           return std::string(std::get<0>(test.param).name) + name_of(std::get<1>(test.param));
                         });

/// Where a run is stopped depends on the time; what is said of it holds all the same.
TEST_F(ZombiesFixture, ChangeNothingOfWhereTheRunWasStopped) {
  auto run = run_of(2, 2);
  run.plan.batch_size = 1;  // an epoch is long
  const auto expected = on_threads(run);
  std::stop_source stop;
  bool woken = false;
  Tables taken;
  // Rank 0 stops when it is about to write where the run was stopped; the next one stops elsewhere.
  ::setenv("VIRGA_STOP_AT", "before_snapshot:1", 1);  // NOLINT(concurrency-mt-unsafe): there is one thread
  place_.watch = [&](Engine& engine) {
    remember(engine);
    if (newest_checkpoint() >= 5) stop.request_stop();
    lose_the_stopped(engine);
    if (woken || !std::filesystem::exists(place_.folder / kStoppedTakenObject)) return;
    woken = true;
    taken = decode_snapshot(read_file(place_.folder / kStoppedTakenObject)).parameters;
    wake_zombies();
    expect_that_zombies_end();
  };
  const auto stopped = on_processes(run, {}, stop.get_token());

  ASSERT_TRUE(woken);
  EXPECT_EQ(stopped.result.reason, EndReason::kStopped);
  EXPECT_EQ(stopped.result.parameters, taken);
  GroupCache cache(*set_.store, set_.manifest, 1U << 24);
  EXPECT_EQ(split_loss(cache, SplitName::kValidation, run.plan.model, stopped.result.parameters,
                       kernels(best_simd_level()), 1),
            stopped.result.best.validation_loss);

  place_.watch = {};
  place_.resume = true;
  const auto resumed = on_processes(run);
  EXPECT_EQ(resumed.result.parameters, expected.result.parameters);
}

/// A function of a driver that was told to stop, and has died, may write where it stopped long afterwards.
TEST_F(ZombiesFixture, OfAnotherDriverDoNotStopTheRun) {
  const auto run = run_of(12, 2);
  const auto expected = on_threads(run);
  bool written = false, killed = false;
  place_.watch = [&](const Engine& engine) {
    remember(engine);
    const auto snapshot = place_.folder / snapshot_object(2);
    if (written) {  // in vain, and so those who die now are replaced
      for (const auto pid : killed ? std::vector<pid_t>() : engine.processes()) ::kill(pid, SIGKILL);
      killed = true;
    } else if (std::filesystem::exists(snapshot)) {
      write_file_atomically(place_.folder / kStoppedObject, read_file(snapshot));
      written = true;
    }
  };
  expect_same(on_processes(run), expected);
  EXPECT_TRUE(killed);
}

}  // namespace
}  // namespace virga
