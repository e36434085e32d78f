#include "virga/driver/single_engine.h"

#include <cmath>
#include <filesystem>

#include <unistd.h>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/base/random.h"
#include "virga/data/schedule.h"
#include "virga/driver/data_set.h"
#include "virga/driver/planted_set_testing.h"
#include "virga/training/evaluate.h"
#include "virga/training/split_loss.h"

namespace virga {
namespace {

using testing::ElementsAreArray;
using testing::HasSubstr;

constexpr auto kFeatures = kPlantedFeatures;

class SingleEngineTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder() = std::filesystem::path(testing::TempDir()) / ("virga_single_engine_test." + std::to_string(::getpid()));
    make_planted_set(folder());
  }
  static void TearDownTestSuite() { std::filesystem::remove_all(folder()); }
  static std::filesystem::path& folder() {
    static std::filesystem::path path;
    return path;
  }

  SingleEngineTest() : set_(open_data_set((folder() / "set").string())) {}

  [[nodiscard]] TrainingRun run_of(const Job& job) const { return run_of(job, set_.manifest); }
  [[nodiscard]] static TrainingRun run_of(const Job& job, const Manifest& manifest) {
    TrainingRun run;
    run.plan = plan_training(job, manifest, 1);
    run.seed = job.seed;
    run.patience = job.stop.patience;
    run.target_loss = job.stop.target_loss;
    run.time_limit = job.stop.seconds;
    return run;
  }
  /// Of one rank, whose rounds two threads take by turns.
  [[nodiscard]] TrainingRun by_turns(Job job) const {
    job.functions.workers = 1;
    auto run = run_of(job);
    run.plan.threads = 2;
    return run;
  }
  TrainingResult train(const TrainingRun& run, std::uint64_t cache_bytes = 1U << 24, const std::stop_token& stop = {}) {
    GroupCache cache(*set_.store, set_.manifest, cache_bytes);
    return train_on_threads(run, cache, &cache, SplitName::kValidation, kernels(best_simd_level()), observer_, stop);
  }

  class Recorder : public TrainingObserver {
   public:
    void rate_found(double learning_rate, const std::vector<RateTrial>& found) override {
      rate = learning_rate;
      trials = found;
    }
    void progressed(const TrainingProgress&) override {}
    void evaluated(const EpochReport& report) override {
      reports.push_back(report);
      if (on_evaluated) on_evaluated();
    }
    void keep(const TrainingResult&) override {}
    std::vector<EpochReport> reports;
    std::vector<RateTrial> trials;
    double rate = 0;
    std::function<void()> on_evaluated;
  };

  DataSet set_;
  Recorder observer_;
};

Job job_of(std::uint32_t epochs, unsigned workers) {
  Job job;
  job.functions.engine = "single";
  job.stop.epochs = epochs;
  job.stop.patience = 0;
  job.functions.workers = workers;
  job.optimizer.learning_rate = 0.5;
  return job;
}

/// The whole run in the plainest way: dense double arithmetic, one row after the other, in the order of the schedule.
std::vector<double> reference_sgd(const DataSet& set, std::uint32_t epochs, std::uint64_t batch, double rate,
                                  double l2) {
  GroupCache cache(*set.store, set.manifest, 1U << 24);
  const Schedule schedule(set.manifest.train, set.manifest.rows_per_group, /*seed=*/1, batch);
  std::vector<double> w(kFeatures + 1);  // the bias last
  for (std::uint64_t round = 0; round < schedule.rounds_per_epoch() * epochs; ++round) {
    std::vector<double> gradient(w.size());
    double rows = 0;
    for (const auto& part : schedule.rows_of(schedule.order(schedule.epoch_of(round)), schedule.step_of(round), 0, 1)) {
      const auto group = cache.get({SplitName::kTrain, part.block, part.group});
      for (auto row = part.first_row; row < part.last_row; ++row, ++rows) {
        double score = w.back();
        for (auto e = group->row_begin[row]; e < group->row_begin[row + 1]; ++e) {
          score += w[group->keys[group->index(e)]] * double{group->values[e]};
        }
        const double residual = 1 / (1 + std::exp(-score)) - double{group->labels[row]};
        for (auto e = group->row_begin[row]; e < group->row_begin[row + 1]; ++e) {
          gradient[group->keys[group->index(e)]] += residual * double{group->values[e]};
        }
        gradient.back() += residual;
      }
    }
    for (std::size_t i = 0; i < w.size(); ++i) w[i] -= rate * (gradient[i] / rows + (i + 1 < w.size() ? l2 * w[i] : 0));
  }
  return w;
}

TEST_F(SingleEngineTest, FollowsTheDenseReferenceStepByStep) {
  auto job = job_of(/*epochs=*/3, /*workers=*/2);
  job.optimizer.name = "sgd";
  job.optimizer.schedule = "constant";
  job.optimizer.batch_size = 64;
  job.model.l2 = 0.01;
  const auto run = run_of(job);
  const auto result = train(run);
  const auto expected = reference_sgd(set_, 3, 64, 0.5, 0.01);
  // Without a validation split's help: compare the last parameters, which were the best here.
  ASSERT_EQ(result.best.epoch, 3U);
  for (std::size_t i = 0; i < kFeatures; ++i) EXPECT_NEAR(result.parameters.values[0][i], expected[i], 2e-5) << i;
  EXPECT_NEAR(result.parameters.values[1][0], expected.back(), 2e-5);
}

TEST_F(SingleEngineTest, HandsOverTheScoresOfTheLastEvaluationIfItIsTheBest) {
  auto job = job_of(/*epochs=*/3, /*workers=*/2);
  job.optimizer.name = "sgd";
  job.optimizer.schedule = "constant";
  for (auto run : {run_of(job), by_turns(job)}) {
    run.evaluates_on_validation = true;
    const auto result = train(run);
    ASSERT_EQ(result.best.epoch, 3U);
    GroupCache cache(*set_.store, set_.manifest, 1U << 24);
    const ModelView model(run.plan.model, result.parameters, set_.manifest.encoding);
    EXPECT_EQ(result.best.validation_loss, split_loss(cache, SplitName::kValidation, run.plan.model, result.parameters,
                                                      kernels(best_simd_level()), 1));
    ASSERT_FALSE(result.scored.empty());
    EXPECT_EQ(evaluate(model, result.scored, 1), evaluate(model, cache, SplitName::kValidation, 2));

    run.evaluates_on_validation = false;
    EXPECT_TRUE(train(run).scored.empty()) << "nobody wants them";
    run.evaluates_on_validation = true;
    run.target_loss = 10;
    EXPECT_TRUE(train(run).scored.empty()) << "nobody knew that the first epoch would be the last";
  }
}

TEST_F(SingleEngineTest, HasNoScoresOfAModelThatIsNotTheLast) {
  auto job = job_of(400, 1);
  job.optimizer.schedule = "constant";
  job.stop.patience = 2;
  job.stop.epochs = train(run_of(job)).last.epoch;
  job.stop.patience = 0;
  auto run = run_of(job);
  run.evaluates_on_validation = true;
  const auto result = train(run);
  ASSERT_EQ(result.reason, EndReason::kEpochs);
  ASSERT_LT(result.best.epoch, result.last.epoch);
  EXPECT_TRUE(result.scored.empty());
}

TEST_F(SingleEngineTest, GivesTheSameBitsEachTimeHoweverSmallTheCacheIs) {
  for (const unsigned workers : {1U, 3U}) {
    const auto run = run_of(job_of(4, workers));
    const auto first = train(run);
    for (int repeat = 0; repeat < 3; ++repeat) EXPECT_EQ(train(run).parameters, first.parameters);
    EXPECT_EQ(train(run, /*cache_bytes=*/1000).parameters, first.parameters);
  }
}

TEST_F(SingleEngineTest, GivesTheSameBitsWhereTwoThreadsTakeTurns) {
  for (const std::string optimizer : {"adagrad", "momentum", "adam", "sgd"}) {
    // The last: epochs of one round.
    for (const std::uint64_t batch : {std::uint64_t{7}, std::uint64_t{100}, set_.manifest.train.rows}) {
      auto job = job_of(5, 1);
      job.optimizer.name = optimizer;
      job.optimizer.learning_rate = 0.1;
      job.optimizer.batch_size = batch;
      job.model.l2 = 1e-3;
      const auto alone = train(run_of(job));
      const auto reports = std::exchange(observer_.reports, {});
      const auto together = train(by_turns(job));
      EXPECT_EQ(together.parameters, alone.parameters) << optimizer << ", " << batch;
      ASSERT_EQ(observer_.reports.size(), reports.size());
      for (std::size_t i = 0; i < reports.size(); ++i) {
        EXPECT_EQ(observer_.reports[i].round, reports[i].round);
        EXPECT_EQ(observer_.reports[i].examples, reports[i].examples);
        EXPECT_EQ(observer_.reports[i].train_loss, reports[i].train_loss);
        EXPECT_EQ(observer_.reports[i].validation_loss, reports[i].validation_loss);
      }
      observer_.reports.clear();
    }
  }
}

TEST_F(SingleEngineTest, ReachesTheSameLossWithAnyNumberOfWorkers) {
  auto job = job_of(5, 1);
  const auto alone = train(run_of(job)).last;
  for (const unsigned workers : {2U, 4U, 8U}) {
    job.functions.workers = workers;
    const auto together = train(run_of(job)).last;
    // Sums of floats in another order: some ten roundings of 6e-8, a few hundred rounds.
    EXPECT_NEAR(*together.validation_loss, *alone.validation_loss, 1e-4 * *alone.validation_loss) << workers;
    EXPECT_EQ(together.round, alone.round);
    EXPECT_EQ(together.examples, alone.examples);
  }
}

TEST_F(SingleEngineTest, SearchesARateOnceForAnyNumberOfThreads) {
  auto job = job_of(2, 1);
  job.optimizer.learning_rate.reset();
  const auto rate = train(run_of(job)).learning_rate;
  const auto trials = observer_.trials;
  EXPECT_EQ(trials.size(), 7U);
  EXPECT_EQ(best_learning_rate(trials), rate);
  job.functions.workers = 4;
  train(run_of(job));
  EXPECT_THAT(observer_.trials, ElementsAreArray(trials));
}

TEST_F(SingleEngineTest, FindsARateForLeastSquaresWithEachOptimizer) {
  const auto values = folder() / "values";
  const DataSet set = open_data_set(make_planted_set(values, PlantedLabels::kValues));
  auto job = job_of(10, 1);
  job.optimizer.learning_rate.reset();
  for (const auto* const optimizer : {"sgd", "momentum", "nesterov", "adagrad", "adam"}) {
    job.optimizer.name = optimizer;
    auto run = run_of(job, set.manifest);
    GroupCache cache(*set.store, set.manifest, 1U << 24);
    const auto result = train_on_threads(run, cache, &cache, SplitName::kValidation, kernels(best_simd_level()),
                                         observer_, std::stop_token());
    EXPECT_LT(*result.best.validation_loss, 0.2 * run.plan.constant_loss) << optimizer;
  }
}

TEST_F(SingleEngineTest, KeepsTheBestModelNotTheLast) {
  auto run = run_of(job_of(6, 2));
  const auto result = train(run);
  double best = HUGE_VAL;
  for (const auto& report : observer_.reports) {
    EXPECT_EQ(report.best, *report.validation_loss < best);
    best = std::min(best, *report.validation_loss);
  }
  EXPECT_EQ(*result.best.validation_loss, best);
  EXPECT_EQ(result.last.epoch, 6U);
}

TEST_F(SingleEngineTest, StopsAtTheTargetLoss) {
  auto job = job_of(50, 2);
  job.stop.target_loss = 0.68;
  const auto result = train(run_of(job));
  EXPECT_EQ(result.reason, EndReason::kTargetLoss);
  EXPECT_LE(*result.last.validation_loss, 0.68);
  EXPECT_LT(result.last.epoch, 50U);
}

TEST_F(SingleEngineTest, RunsOutOfPatience) {
  auto job = job_of(400, 1);
  job.optimizer.schedule = "constant";
  job.stop.patience = 2;
  for (const auto& run : {run_of(job), by_turns(job)}) {
    const auto result = train(run);
    EXPECT_EQ(result.reason, EndReason::kPatience);
    EXPECT_EQ(result.last.epoch, result.best.epoch + 2);
  }
}

TEST_F(SingleEngineTest, KeepsWhatItHasWhenItIsStopped) {
  std::stop_source stop;
  observer_.on_evaluated = [&] { stop.request_stop(); };
  const auto result = train(run_of(job_of(1000, 2)), 1U << 24, stop.get_token());
  EXPECT_EQ(result.reason, EndReason::kStopped);
  EXPECT_EQ(observer_.reports.size(), 2U) << "after the first epoch, and where it was stopped";
  EXPECT_LE(observer_.reports[1].round, observer_.reports[0].round + 2);
}

TEST_F(SingleEngineTest, KeepsWhatItHasWhenThreadsThatTakeTurnsAreStopped) {
  std::stop_source stop;
  observer_.on_evaluated = [&] { stop.request_stop(); };
  const auto result = train(by_turns(job_of(1000, 1)), 1U << 24, stop.get_token());
  EXPECT_EQ(result.reason, EndReason::kStopped);
  ASSERT_EQ(observer_.reports.size(), 2U);
  EXPECT_LE(observer_.reports[1].round, observer_.reports[0].round + 5) << "two turns of the thread that sees it";
  EXPECT_EQ(result.last.examples, observer_.reports[1].examples);
}

TEST_F(SingleEngineTest, SaysWhatToTryWhenTheLossIsHopeless) {
  auto job = job_of(5, 2);
  job.optimizer.name = "sgd";
  job.optimizer.learning_rate = 1e4;
  for (const auto& run : {run_of(job), by_turns(job)}) {
    try {
      static_cast<void>(train(run));
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kDiverged);
      EXPECT_THAT(error.remedy(), HasSubstr("learning-rate"));
    }
  }
}

TEST_F(SingleEngineTest, GoesOnFromGivenParameters) {
  auto run = run_of(job_of(3, 2));
  const auto first = train(run);
  run.start = first.parameters;
  const auto second = train(run);
  EXPECT_LT(observer_.reports.back().train_loss, observer_.reports.front().train_loss);
  EXPECT_NE(second.parameters, first.parameters);
}

TEST_F(SingleEngineTest, HasMoreRanksThanRowsInAStep) {
  auto job = job_of(1, 5);
  job.optimizer.batch_size = 3;
  const auto result = train(run_of(job));
  EXPECT_EQ(result.last.examples, set_.manifest.train.rows);
}

}  // namespace
}  // namespace virga
