#pragma once

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <unistd.h>

#include <gtest/gtest.h>

#include "virga/driver/data_set.h"
#include "virga/driver/functions_run.h"
#include "virga/driver/planted_set_testing.h"
#include "virga/driver/single_engine.h"

namespace virga {

/// Trains on a planted set with functions, in a folder of its own, and compares with threads.
class FunctionsFixture : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder() = std::filesystem::path(testing::TempDir()) / ("virga_functions." + std::to_string(::getpid()));
    make_planted_set(folder());
  }
  static void TearDownTestSuite() { std::filesystem::remove_all(folder()); }
  static std::filesystem::path& folder() {
    static std::filesystem::path path;
    return path;
  }

  FunctionsFixture() : set_(open_data_set((folder() / "set").string())) {
    const char* programs = std::getenv("VIRGA_BIN_DIR");  // NOLINT(concurrency-mt-unsafe): there is one thread
    place_.run_id = "test";
    place_.folder = folder() / "run";
    place_.program = std::filesystem::path(programs == nullptr ? "." : programs) / "virga-function";
    place_.data = set_.uri;
    place_.validates = true;
    place_.cores = 2;
    place_.checkpoint_interval = std::chrono::milliseconds(0);
    place_.patience = std::chrono::seconds(10);
    place_.look_interval = std::chrono::milliseconds(20);
    place_.pieces = 3;
  }
  ~FunctionsFixture() override { std::filesystem::remove_all(place_.folder); }

  [[nodiscard]] TrainingRun run_of(std::uint32_t epochs, unsigned workers) const {
    Job job;
    job.functions.engine = "single";
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

  /// `attempt` with `epochs`, and with four times as many as long as it says that they were over too soon for what it
  /// tests: how many a machine trains in a time is its own affair.
  template <class Attempt>
  static void with_enough_epochs(std::uint32_t epochs, Attempt attempt) {
    for (int tries = 1; !attempt(epochs) && tries < 5; ++tries) epochs *= 4;
  }

  class Recorder : public TrainingObserver {
   public:
    void rate_found(double, const std::vector<RateTrial>&) override {}
    void pattern_chosen(const PatternChoice& choice) override { chosen = choice; }
    void progressed(const TrainingProgress&) override {}
    void evaluated(const EpochReport& report) override {
      reports.push_back(report);
      if (on_evaluated) on_evaluated(reports.size());
    }
    void keep(const TrainingResult&) override {}
    std::vector<EpochReport> reports;
    std::optional<PatternChoice> chosen;
    std::function<void(std::size_t evaluations)> on_evaluated;
  };
  struct Outcome {
    TrainingResult result;
    std::vector<EpochReport> history;
    std::optional<PatternChoice> chosen = {};
  };

  [[nodiscard]] Outcome on_threads(const TrainingRun& run) const {
    GroupCache cache(*set_.store, set_.manifest, 1U << 24);
    Recorder recorder;
    auto result =
        train_on_threads(run, cache, &cache, SplitName::kValidation, kernels(best_simd_level()), recorder, {});
    return {std::move(result), recorder.reports};
  }
  [[nodiscard]] Outcome on_processes(const TrainingRun& run,
                                     const std::function<void(std::size_t evaluations)>& on_evaluated = {},
                                     const std::stop_token& stop = {}) {
    GroupCache cache(*set_.store, set_.manifest, 1U << 24);
    Recorder recorder;
    recorder.on_evaluated = on_evaluated;
    auto result = train_on_functions(run, place_, cache, kernels(best_simd_level()), recorder, stop, &report_);
    return {std::move(result), recorder.reports, recorder.chosen};
  }

  /// What `run` comes to if nothing happens: on threads where they know its algorithm, else on functions.
  [[nodiscard]] Outcome undisturbed(const TrainingRun& run) {
    const auto kind = run.plan.algorithm.kind;
    if (kind == AlgorithmKind::kGradientAveraging || kind == AlgorithmKind::kExpectationMaximisation)
      return on_threads(run);
    auto place = place_;
    place.pattern = Pattern::kLeader;
    place.channel = FunctionsPlace::ChannelKind::kDirectory;
    place.engine = FunctionsPlace::EngineKind::kProcess;
    place.rounds_per_invocation = 0;
    std::swap(place_, place);
    auto outcome = on_processes(run);
    std::swap(place_, place);
    return outcome;
  }

  /// For protocols whose bits are those of no other run: as good a model as the threads', which are bulk-synchronous:
  /// nearly all of what they gain on the best constant prediction.
  void expect_as_good(const Outcome& actual, const TrainingRun& run) const {
    const auto bsp = *on_threads(run).result.best.validation_loss;
    EXPECT_LE(*actual.result.best.validation_loss, bsp + 0.1 * (run.plan.constant_loss - bsp))
        << "bulk-synchronous " << bsp << ", base rate " << run.plan.constant_loss;
    ASSERT_FALSE(actual.history.empty());
    EXPECT_EQ(actual.history.back().epoch, actual.history.size());
    EXPECT_FALSE(std::filesystem::exists(place_.folder));
  }

  /// The same model and the same history, bit for bit, and nothing is left behind.
  void expect_same(const Outcome& actual, const Outcome& expected) const {
    EXPECT_EQ(actual.result.parameters, expected.result.parameters);
    EXPECT_EQ(actual.result.best.epoch, expected.result.best.epoch);
    EXPECT_EQ(actual.result.reason, expected.result.reason);
    ASSERT_EQ(actual.history.size(), expected.history.size());
    for (std::size_t i = 0; i < expected.history.size(); ++i) {
      const auto& a = actual.history[i];
      const auto& b = expected.history[i];
      EXPECT_EQ(a.epoch, b.epoch);
      EXPECT_EQ(a.round, b.round);
      EXPECT_EQ(a.examples, b.examples);
      EXPECT_EQ(a.learning_rate, b.learning_rate);
      EXPECT_EQ(a.train_loss, b.train_loss);
      EXPECT_EQ(a.validation_loss, b.validation_loss);
      EXPECT_EQ(a.best, b.best);
    }
    EXPECT_FALSE(std::filesystem::exists(place_.folder));
  }

  DataSet set_;
  FunctionsPlace place_;
  FunctionsReport report_;
};

}  // namespace virga
