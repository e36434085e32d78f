// Who is alive but does nothing: no wait for him is without an end.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <thread>

#include <sys/wait.h>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/collective/pattern_testing.h"
#include "virga/driver/functions_run_testing.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

/// The task of a process: the name of its payload, "worker-1-2" or "evaluate-3"; "" before it has become one.
std::string task_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/cmdline");
  std::string program, payload;
  std::getline(file, program, '\0');
  std::getline(file, payload, '\0');
  return std::filesystem::path(payload).stem().string();
}

class SilenceTest : public FunctionsFixture {
 protected:
  SilenceTest() {
    place_.patience = 1s;
    place_.silence = 1s;
  }
  /// Stops processes of tasks that begin with `task`, the first `most` of them.
  void stop(const std::string& task, std::size_t most) {
    place_.watch = [this, task, most](const Engine& engine) {
      if (waits_for_checkpoint_ && !std::filesystem::exists(place_.folder / "checkpoints")) return;
      for (const auto pid : engine.processes()) {
        if (stopped_.size() == most || stopped_.contains(pid) || !task_of(pid).starts_with(task)) continue;
        stopped_.insert(pid);
        ::kill(pid, SIGSTOP);
      }
    };
  }

  bool waits_for_checkpoint_ = false;
  std::set<pid_t> stopped_;
};

class SilentWorkerTest : public SilenceTest, public testing::WithParamInterface<std::tuple<Pattern, const char*>> {};

TEST_P(SilentWorkerTest, IsReplacedInTheMiddle) {
  const auto run = run_of(30, 3);
  const auto expected = on_threads(run);
  place_.pattern = std::get<0>(GetParam());
  waits_for_checkpoint_ = true;
  stop(std::get<1>(GetParam()), 1);

  expect_same(on_processes(run), expected);

  EXPECT_EQ(stopped_.size(), 1U);
  EXPECT_GT(report_.views, 1U);
}

INSTANTIATE_TEST_SUITE_P(All, SilentWorkerTest,
                         testing::Combine(testing::ValuesIn(kPatternsOfOneThread),
                                          testing::Values("worker-0", "worker-1")),
                         [](const auto& test) {
                           return name_of(std::get<0>(test.param)) + std::string(std::get<1>(test.param)).substr(7);
                         });

TEST_F(SilenceTest, OfAWorkerFromTheBeginningIsFoundOut) {
  const auto run = run_of(20, 2);
  const auto expected = on_threads(run);
  stop("worker-1", 1);
  expect_same(on_processes(run), expected);
  EXPECT_GT(report_.views, 1U);
}

TEST_F(SilenceTest, OfOneWorkerAgainAndAgainEndsTheRunWithItsName) {
  place_.patience = place_.silence = 300ms;
  place_.checkpoint_interval = 1h;
  auto run = run_of(2000, 2);
  run.plan.batch_size = 2;  // no end of an epoch before it is stopped
  stop("worker-1", 1000);
  try {
    (void)on_processes(run);
    FAIL() << "trained without a worker";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnavailable);
    EXPECT_THAT(error.what(), HasSubstr("10 restarts in a row"));
    EXPECT_THAT(error.what(), HasSubstr("worker 1 (generation "));
  }
}

TEST_F(SilenceTest, OfALoneWorkerEndsWithItsLifetime) {
  const auto run = run_of(20, 1);
  const auto expected = on_threads(run);
  place_.lifetime = 1s;
  place_.grace = 100ms;
  stop("worker-0", 1);
  expect_same(on_processes(run), expected);
  EXPECT_GT(report_.views, 1U);
}

TEST_F(SilenceTest, OfAnEvaluationEndsWithItsLifetime) {
  const auto run = run_of(5, 1);
  const auto expected = on_threads(run);
  place_.lifetime = 2s;
  place_.grace = 100ms;
  ::setenv("VIRGA_STOP_AT", "before_evaluation:1", 1);  // NOLINT(concurrency-mt-unsafe): there is one thread
  place_.watch = [this](const Engine& engine) {
    for (const auto pid : engine.processes()) {
      if (task_of(pid).starts_with("evaluate-")) stopped_.insert(pid);
    }
    if (stopped_.size() >= 2) ::unsetenv("VIRGA_STOP_AT");  // NOLINT(concurrency-mt-unsafe): as above
  };
  expect_same(on_processes(run), expected);
  ::unsetenv("VIRGA_STOP_AT");  // NOLINT(concurrency-mt-unsafe): as above
  EXPECT_GE(stopped_.size(), 2U);
  EXPECT_GT(report_.invocations, 1U + 5U) << "they were repeated";
}

/// As if the driver had died and its functions had not: it says nothing until they have all gone.
class OrphansTest : public FunctionsFixture {
 protected:
  struct DriverDies {};
  static bool has_ended(pid_t pid) {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
  }
  void wait_for_the_end_of(std::vector<pid_t> processes) {
    const auto deadline = std::chrono::steady_clock::now() + 60s;
    while (std::chrono::steady_clock::now() < deadline) {
      if (std::ranges::all_of(processes, has_ended)) throw DriverDies();
      std::this_thread::sleep_for(5ms);
    }
    FAIL() << "orphans live on";
  }
};

TEST_F(OrphansTest, LeaveACheckpointFromWhichTheRunGoesOn) {
  auto run = run_of(16, 2);
  run.plan.batch_size = 4;  // many rounds, few evaluations
  const auto expected = on_threads(run);
  place_.checkpoint_interval = 1h;  // so that there is none but what they leave
  place_.orphan_timeout = 50ms;
  place_.watch = [&](const Engine& engine) { wait_for_the_end_of(engine.processes()); };
  EXPECT_THROW((void)on_processes(run), DriverDies);
  const auto checkpoints = place_.folder / "checkpoints";
  ASSERT_TRUE(std::filesystem::exists(checkpoints));
  EXPECT_FALSE(std::filesystem::is_empty(checkpoints));

  place_.watch = {};
  place_.resume = true;
  place_.orphan_timeout = 60s;
  expect_same(on_processes(run), expected);
}

}  // namespace
}  // namespace virga
