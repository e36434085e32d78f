#include "virga/driver/functions_run.h"

#include <csignal>
#include <filesystem>

#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/base/random.h"
#include "virga/channel/directory_register.h"
#include "virga/control/run_folder.h"
#include "virga/cost/bill.h"
#include "virga/cost/ledger.h"
#include "virga/cost/price_table.h"
#include "virga/driver/functions_run_testing.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

using FunctionsRunTest = FunctionsFixture;

TEST_F(FunctionsRunTest, GivesTheBitsOfThreads) {
  for (const unsigned workers : {1U, 2U, 3U}) {
    for (const auto pattern : kPatterns) {
      place_.pattern = pattern;
      place_.channel = workers == 2 ? FunctionsPlace::ChannelKind::kDirectory : FunctionsPlace::ChannelKind::kDataStore;
      const auto run = run_of(3, workers);
      const auto expected = on_threads(run);
      expect_same(on_processes(run), expected);
      EXPECT_EQ(report_.views, 1U);
      EXPECT_EQ(report_.invocations, workers + 3);
    }
  }
}

TEST_F(FunctionsRunTest, GivesTheSameBitsWhenWorkersAreKilledAgainAndAgain) {
  const auto run = run_of(6, 3);
  const auto expected = on_threads(run);
  const Random random(1, Purpose::kTest);
  std::uint64_t look = 0, kills = 0;
  place_.watch = [&](const Engine& engine) {
    const auto processes = engine.processes();
    if (processes.empty() || kills >= 9 || random.below(4, 0, look++) > 0) return;
    ::kill(processes[random.below(processes.size(), 1, look)], SIGKILL);
    ++kills;
  };
  expect_same(on_processes(run), expected);
  EXPECT_GE(kills, 3U);
  EXPECT_GT(report_.views, 1U);
}

TEST_F(FunctionsRunTest, GoesOnInTheNextGenerationWhenALifeIsOver) {
  const auto run = run_of(40, 2);
  const auto expected = on_threads(run);
  place_.lifetime = 200ms;
  expect_same(on_processes(run), expected);
  EXPECT_GT(report_.views, 1U);
}

TEST_F(FunctionsRunTest, KeepsTheBestModelWhenItIsStopped) {
  std::stop_source stop;
  const auto outcome = on_processes(
      run_of(2000, 2), [&](std::size_t) { stop.request_stop(); }, stop.get_token());
  EXPECT_EQ(outcome.result.reason, EndReason::kStopped);
  EXPECT_GE(outcome.history.size(), 1U);
  EXPECT_LT(outcome.result.last.epoch, 2000U);
}

TEST_F(FunctionsRunTest, StopsAtTheFirstSnapshotThatMetTheTarget) {
  auto run = run_of(60, 2);
  run.target_loss = *on_threads(run).history[3].validation_loss;
  const auto expected = on_threads(run);
  expect_same(on_processes(run), expected);
  EXPECT_EQ(expected.result.reason, EndReason::kTargetLoss);
}

class FunctionsRunBudgetTest : public FunctionsRunTest {
 protected:
  FunctionsRunBudgetTest() {
    place_.channel = FunctionsPlace::ChannelKind::kDirectory;  // whose hours cost nothing
    place_.lifetime = 400ms;
    place_.ledger = folder() / "ledger.jsonl";
  }
  ~FunctionsRunBudgetTest() override { std::filesystem::remove(place_.ledger); }

  [[nodiscard]] Usd spent() const { return price(read_ledger(place_.ledger), builtin_price_table()).total(); }
  /// Enough for one generation of two workers, not for another one.
  const Usd tight_ = Usd::of(0.0019);
};

TEST_F(FunctionsRunBudgetTest, StopsBeforeMoreIsSpentAndGoesOnWithALargerOne) {
  const auto run = run_of(300, 2);
  const auto expected = on_threads(run);
  place_.budget = tight_;
  const auto part = on_processes(run);
  EXPECT_EQ(part.result.reason, EndReason::kBudget);
  EXPECT_LT(part.result.last.epoch, 300U);
  EXPECT_LE(spent(), tight_);
  EXPECT_GT(spent(), Usd());
  EXPECT_EQ(read_leased(place_.folder / "leased.json"), spent());
  place_.resume = true;
  place_.budget = Usd::of(1);
  place_.lifetime = 60s;
  place_.channel = FunctionsPlace::ChannelKind::kDataStore;  // which is faster
  for (const auto& report : part.history) place_.reported.insert(report.round);
  const auto rest = on_processes(run);
  EXPECT_EQ(rest.result.parameters, expected.result.parameters);
  EXPECT_EQ(rest.result.reason, EndReason::kEpochs);
}

TEST_F(FunctionsRunBudgetTest, IsNeverExceededWhateverDies) {
  place_.budget = Usd::of(0.003);
  const Random random(1, Purpose::kTest);
  std::uint64_t look = 0;
  place_.watch = [&](const Engine& engine) {
    const auto processes = engine.processes();
    if (processes.empty() || random.below(3, 0, look++) > 0) return;
    ::kill(processes[random.below(processes.size(), 1, look)], SIGKILL);
  };
  try {
    const auto outcome = on_processes(run_of(2000, 3));
    EXPECT_EQ(outcome.result.reason, EndReason::kBudget);
  } catch (const Error& error) {
    // Who is killed at once again and again gets no further, and spends little.
    EXPECT_THAT(error.kind(), testing::AnyOf(ErrorKind::kUnavailable, ErrorKind::kBudgetExhausted)) << error.what();
  }
  EXPECT_LE(spent(), *place_.budget);
}

TEST_F(FunctionsRunBudgetTest, CountsWhatADriverThatDiedHadLeased) {
  place_.budget = tight_;
  const auto run = run_of(300, 2);
  EXPECT_EQ(on_processes(run).result.reason, EndReason::kBudget);
  keep_leased(place_.folder / "leased.json", Usd::of(0.9999));  // as if it had died with all that under way
  place_.resume = true;
  place_.budget = Usd::of(1);
  try {
    (void)on_processes(run);
    ADD_FAILURE() << "it has gone on";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBudgetExhausted);
    EXPECT_THAT(error.what(), HasSubstr("too small for 2 functions to begin"));
  }
}

TEST_F(FunctionsRunTest, GoesOnAfterItWasStopped) {
  const auto run = run_of(60, 2);
  const auto expected = on_threads(run);
  std::stop_source stop;
  const auto stop_after_4 = [&](std::size_t evaluations) {
    if (evaluations == 4) stop.request_stop();
  };
  EXPECT_EQ(on_processes(run, stop_after_4, stop.get_token()).result.reason, EndReason::kStopped);
  ASSERT_TRUE(std::filesystem::exists(place_.folder));
  place_.resume = true;
  expect_same(on_processes(run), expected);
}

TEST_F(FunctionsRunTest, GoesOnAfterItsDriverWasKilledAgainAndAgain) {
  const auto run = run_of(40, 2);
  const auto expected = on_threads(run);
  for (std::size_t death = 1; death <= 4; ++death) {
    const auto driver = ::fork();
    if (driver == 0) {
      (void)on_processes(run, [&](std::size_t evaluations) {
        if (evaluations == 3 * death) ::kill(::getpid(), SIGKILL);
      });
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(driver, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "it died in the middle";
    place_.resume = true;
  }
  expect_same(on_processes(run), expected);
}

TEST_F(FunctionsRunTest, LeavesTheRunToADriverThatTakesOver) {
  const auto run = run_of(2000, 1);
  DirectoryRegister registers((place_.folder / "registers").string());
  place_.watch = [&](const Engine&) {
    registers.write(kDriverRegister, as_bytes("{}"), {Deadline::in(20s)});  // as another driver would
  };
  try {
    (void)on_processes(run);
    FAIL() << "two drivers";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConflict);
    EXPECT_THAT(error.what(), HasSubstr("another driver has taken over"));
  }
}

TEST_F(FunctionsRunTest, SaysWhyWorkersDieAgainAndAgain) {
  place_.watch = [](const Engine& engine) {
    for (const auto pid : engine.processes()) ::kill(pid, SIGKILL);
  };
  try {
    (void)on_processes(run_of(5000, 2));
    FAIL() << "trained by the dead";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnavailable);
    EXPECT_THAT(error.what(), HasSubstr("10 restarts in a row"));
    EXPECT_THAT(error.what(), HasSubstr("killed by signal 9"));
  }
}

}  // namespace
}  // namespace virga
