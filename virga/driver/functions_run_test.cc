#include "virga/driver/functions_run.h"

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>

#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/base/random.h"
#include "virga/channel/directory_register.h"
#include "virga/control/run_folder.h"
#include "virga/driver/data_set.h"
#include "virga/driver/planted_set_testing.h"
#include "virga/driver/single_engine.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

std::filesystem::path program() {
  const char* folder = std::getenv("VIRGA_BIN_DIR");  // NOLINT(concurrency-mt-unsafe): there is one thread
  return std::filesystem::path(folder == nullptr ? "." : folder) / "virga-function";
}

class FunctionsRunTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder() = std::filesystem::path(testing::TempDir()) / ("virga_functions_run_test." + std::to_string(::getpid()));
    make_planted_set(folder());
  }
  static void TearDownTestSuite() { std::filesystem::remove_all(folder()); }
  static std::filesystem::path& folder() {
    static std::filesystem::path path;
    return path;
  }

  FunctionsRunTest() : set_(open_data_set((folder() / "set").string())) {
    place_.run_id = "test";
    place_.folder = folder() / "run";
    place_.program = program();
    place_.data = set_.uri;
    place_.validates = true;
    place_.patience = 20s;
  }
  ~FunctionsRunTest() override { std::filesystem::remove_all(place_.folder); }

  TrainingRun run_of(std::uint32_t epochs, unsigned workers) const {
    Job job;
    job.stop.epochs = epochs;
    job.stop.patience = 0;
    job.functions.workers = workers;
    job.optimizer.learning_rate = 0.5;
    job.optimizer.batch_size = 100;
    TrainingRun run;
    run.plan = plan_training(job, set_.manifest, 1);
    run.seed = job.seed;
    return run;
  }

  class Recorder : public TrainingObserver {
   public:
    void rate_found(double, const std::vector<RateTrial>&) override {}
    void progressed(const TrainingProgress&) override {}
    void evaluated(const EpochReport& report) override {
      reports.push_back(report);
      if (on_evaluated) on_evaluated();
    }
    void keep(const TrainingResult&) override {}
    std::vector<EpochReport> reports;
    std::function<void()> on_evaluated;
  };

  TrainingResult on_threads(const TrainingRun& run) {
    GroupCache cache(*set_.store, set_.manifest, 1U << 24);
    threads_.reports.clear();
    return train_on_threads(run, cache, &cache, SplitName::kValidation, kernels(best_simd_level()), threads_, {});
  }
  TrainingResult on_processes(const TrainingRun& run, const std::stop_token& stop = {}) {
    GroupCache cache(*set_.store, set_.manifest, 1U << 24);
    processes_.reports.clear();
    return train_on_processes(run, place_, cache, kernels(best_simd_level()), processes_, stop, &report_);
  }

  /// The same model and the same history, bit for bit.
  void expect_same(const TrainingResult& actual, const TrainingResult& expected) const {
    EXPECT_EQ(actual.parameters, expected.parameters);
    EXPECT_EQ(actual.best.epoch, expected.best.epoch);
    EXPECT_EQ(actual.reason, expected.reason);
    ASSERT_EQ(processes_.reports.size(), threads_.reports.size());
    for (std::size_t i = 0; i < threads_.reports.size(); ++i) {
      const auto& a = processes_.reports[i];
      const auto& b = threads_.reports[i];
      EXPECT_EQ(a.epoch, b.epoch);
      EXPECT_EQ(a.round, b.round);
      EXPECT_EQ(a.examples, b.examples);
      EXPECT_EQ(a.learning_rate, b.learning_rate);
      EXPECT_EQ(a.train_loss, b.train_loss);
      EXPECT_EQ(a.validation_loss, b.validation_loss);
      EXPECT_EQ(a.best, b.best);
    }
    EXPECT_FALSE(std::filesystem::exists(place_.folder)) << "nothing is left behind";
  }

  DataSet set_;
  FunctionsPlace place_;
  FunctionsReport report_;
  Recorder threads_, processes_;
};

TEST_F(FunctionsRunTest, GivesTheBitsOfThreads) {
  for (const unsigned workers : {1U, 2U, 3U}) {
    for (const auto pattern : {Pattern::kLeader, Pattern::kScatterReduce}) {
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
  place_.checkpoint_interval = 0ms;
  const Random random(1, Purpose::kTest);
  std::uint64_t look = 0, kills = 0;
  place_.watch = [&](const ProcessEngine& engine) {
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
  auto run = run_of(2000, 2);
  std::stop_source stop;
  processes_.on_evaluated = [&] { stop.request_stop(); };
  const auto result = on_processes(run, stop.get_token());
  EXPECT_EQ(result.reason, EndReason::kStopped);
  EXPECT_GE(processes_.reports.size(), 1U);
  EXPECT_LT(result.last.epoch, 2000U);
}

TEST_F(FunctionsRunTest, StopsAtTheFirstSnapshotThatMetTheTarget) {
  auto run = run_of(60, 2);
  (void)on_threads(run);
  run.target_loss = *threads_.reports[3].validation_loss;
  const auto expected = on_threads(run);
  expect_same(on_processes(run), expected);
  EXPECT_EQ(expected.reason, EndReason::kTargetLoss);
}

TEST_F(FunctionsRunTest, GoesOnAfterItWasStopped) {
  const auto run = run_of(60, 2);
  const auto expected = on_threads(run);
  std::stop_source stop;
  processes_.on_evaluated = [&] {
    if (processes_.reports.size() == 4) stop.request_stop();
  };
  const auto stopped = on_processes(run, stop.get_token());
  EXPECT_EQ(stopped.reason, EndReason::kStopped);
  ASSERT_TRUE(std::filesystem::exists(place_.folder));
  processes_.on_evaluated = nullptr;
  place_.resume = true;
  expect_same(on_processes(run), expected);
}

TEST_F(FunctionsRunTest, GoesOnAfterItsDriverWasKilledAgainAndAgain) {
  const auto run = run_of(40, 2);
  const auto expected = on_threads(run);
  place_.checkpoint_interval = 0ms;
  for (std::size_t death = 1; death <= 4; ++death) {
    const auto driver = ::fork();
    if (driver == 0) {
      processes_.on_evaluated = [&] {
        if (processes_.reports.size() == 3 * death) ::kill(::getpid(), SIGKILL);
      };
      (void)on_processes(run);
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
  place_.watch = [&](const ProcessEngine&) {
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
  place_.watch = [](const ProcessEngine& engine) {
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
