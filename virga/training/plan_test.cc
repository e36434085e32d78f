#include "virga/training/plan.h"

#include <gmock/gmock.h>

#include "virga/base/error.h"

namespace virga {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Manifest binary_set() {
  Manifest manifest;
  manifest.encoding.features = 10;
  manifest.encoding.classes = {"no", "yes"};
  manifest.train.rows = 1000;
  manifest.train.weight = 1000;
  manifest.train.class_weight_sums = {900, 100};
  return manifest;
}

template <typename Body>
std::string refusal(const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    return std::string(error.what()) + " / " + error.remedy();
  }
  return "";
}

TEST(Plan, ChoosesTheKindByTheLabels) {
  auto set = binary_set();
  EXPECT_EQ(plan_training({}, set, 2).model.kind, ModelKind::kLogistic);
  set.encoding.task = Task::kMulticlass;
  set.encoding.classes = {"a", "b", "c"};
  set.train.class_weight_sums = {500, 300, 200};
  EXPECT_EQ(plan_training({}, set, 2).model.kind, ModelKind::kSoftmax);
  set.encoding.task = Task::kRegression;
  set.encoding.classes = {};
  set.train.class_weight_sums = {};
  set.train.label_mean = 3;
  set.train.label_variance = 4;
  const auto plan = plan_training({}, set, 2);
  EXPECT_EQ(plan.model.kind, ModelKind::kLeastSquares);
  EXPECT_EQ(plan.constant_loss, 4);
  EXPECT_EQ(initial_parameters(plan.model, plan.label_mean).values[1][0], 3);
}

TEST(Plan, ScalesLearningRatesByTheTargetWhereStepsDoNotFollowIt) {
  auto set = binary_set();
  set.encoding.task = Task::kRegression;
  set.encoding.classes = {};
  set.train.class_weight_sums = {};
  set.train.label_variance = 4;
  Job job;
  for (const auto& [rule, scale] :
       {std::pair{"adagrad", 2}, {"adam", 2}, {"sgd", 1}, {"momentum", 1}, {"nesterov", 1}}) {
    job.optimizer.name = rule;
    EXPECT_EQ(plan_training(job, set, 2).label_scale, scale) << rule;
  }
  job.optimizer.name = "adagrad";
  EXPECT_EQ(plan_training(job, binary_set(), 2).label_scale, 1);
}

TEST(Plan, RefusesLeastSquaresOfClasses) {
  auto set = binary_set();
  Job job;
  job.model.kind = "least-squares";
  EXPECT_THAT(
      refusal([&] { static_cast<void>(plan_training(job, set, 1)); }),
      testing::AllOf(HasSubstr("it has 2 classes"), HasSubstr("--model logistic"), HasSubstr("--task regression")));
  set.encoding.task = Task::kMulticlass;
  set.encoding.classes = {"a", "b", "c"};
  set.train.class_weight_sums = {500, 300, 200};
  EXPECT_THAT(refusal([&] { static_cast<void>(plan_training(job, set, 1)); }),
              testing::AllOf(HasSubstr("it has 3 classes"), HasSubstr("--model softmax")));
}

TEST(Plan, RefusesAKindThatDoesNotFit) {
  auto set = binary_set();
  set.encoding.task = Task::kMulticlass;
  set.encoding.classes = {"a", "b", "c"};
  set.train.class_weight_sums = {500, 300, 200};
  Job job;
  job.functions.engine = "single";
  job.model.kind = "svm";
  EXPECT_THAT(refusal([&] { static_cast<void>(plan_training(job, set, 1)); }), HasSubstr("it has 3 classes"));
}

TEST(Plan, BalancesClassesAndKeepsTheMeanWeight) {
  Job job;
  job.functions.engine = "single";
  job.model.class_weight_balanced = true;
  const auto plan = plan_training(job, binary_set(), 1);
  EXPECT_THAT(plan.model.class_weights, ElementsAre(testing::FloatEq(1000.0F / 1800), testing::FloatEq(5)));
  EXPECT_NEAR(plan.mean_weight, 1, 1e-7);
  EXPECT_NEAR(plan.constant_loss, 0.693147, 1e-6);
}

TEST(Plan, TakesClassWeightsByNameAndRefusesUnknownNames) {
  Job job;
  job.functions.engine = "single";
  job.model.class_weight = {{"yes", 3}};
  const auto plan = plan_training(job, binary_set(), 1);
  EXPECT_THAT(plan.model.class_weights, ElementsAre(1, 3));
  EXPECT_NEAR(plan.mean_weight, 1.2, 1e-12);
  job.model.class_weight = {{"yess", 3}};
  EXPECT_THAT(refusal([&] { static_cast<void>(plan_training(job, binary_set(), 1)); }),
              HasSubstr("did you mean 'yes'"));
}

TEST(Plan, KnowsTheLossOfAConstantPrediction) {
  Job job;
  job.functions.engine = "single";
  EXPECT_NEAR(plan_training(job, binary_set(), 1).constant_loss, 0.3250830, 1e-6);  // entropy of 0.1
  job.model.kind = "svm";
  EXPECT_NEAR(plan_training(job, binary_set(), 1).constant_loss, 0.2, 1e-12);
  job.model.kind = "svm-squared";
  EXPECT_NEAR(plan_training(job, binary_set(), 1).constant_loss, 0.36, 1e-12);
}

TEST(Plan, RefusesASetWithoutTrainingRows) {
  auto set = binary_set();
  set.train.rows = 0;
  EXPECT_THAT(refusal([&] { static_cast<void>(plan_training({}, set, 1)); }), HasSubstr("no training rows"));
}

TEST(Plan, UsesAllCoresOnlyWhereAStepIsWorthIt) {
  auto set = binary_set();
  set.train.nonzeros = 39'000;
  Job job;
  EXPECT_EQ(plan_training(job, set, 4).workers, 8U) << "functions: two for each core";
  job.functions.engine = "single";
  EXPECT_EQ(plan_training(job, set, 4).workers, 1U) << "16 rows a step";
  job.optimizer.batch_size = 300;
  EXPECT_EQ(plan_training(job, set, 4).workers, 2U);
  job.optimizer.batch_size = 1000;
  EXPECT_EQ(plan_training(job, set, 4).workers, 2U) << "sparse rows: a core beside each rank prepares mini-batches";
  set.encoding.dense = true;
  EXPECT_EQ(plan_training(job, set, 4).workers, 4U);
  set.encoding.dense = false;
  job.functions.workers = 7;
  EXPECT_EQ(plan_training(job, set, 4).workers, 7U);
}

TEST(Plan, TakesTheAlgorithmOfWorkersThatAreApart) {
  Job job;
  job.functions.workers = 4;
  EXPECT_EQ(plan_training(job, binary_set(), 2).algorithm, AlgorithmPlan());
  job.exchange.algorithm = "model-averaging";
  job.exchange.every = 30;
  EXPECT_EQ(plan_training(job, binary_set(), 2).algorithm,
            (AlgorithmPlan{.kind = AlgorithmKind::kModelAveraging, .every = 30}));
  job.exchange.algorithm = "admm";
  job.model.l2 = 1e-4;
  EXPECT_EQ(plan_training(job, binary_set(), 2).algorithm,
            (AlgorithmPlan{.kind = AlgorithmKind::kAdmm, .passes = 4, .rho = 1e-3}));
  job.exchange.rho = 0.5;
  EXPECT_EQ(plan_training(job, binary_set(), 2).algorithm.rho, 0.5);
  job.functions.engine = "single";
  EXPECT_THAT(refusal([&] { static_cast<void>(plan_training(job, binary_set(), 1)); }),
              HasSubstr("algorithm \"admm\" is one of workers that are apart"));
}

TEST(Plan, TakesTheProtocolAndRefusesWhatItDoesNotGoWith) {
  Job job;
  job.exchange.protocol = "ssp";
  job.exchange.staleness = 3;
  job.exchange.every = 7;
  EXPECT_EQ(plan_training(job, binary_set(), 2).algorithm,
            (AlgorithmPlan{.protocol = ProtocolKind::kSsp, .staleness = 3}));
  EXPECT_EQ(algorithm_text(plan_training(job, binary_set(), 2).algorithm),
            "gradient averaging, at most 3 rounds stale");
  job.exchange.protocol = "asp";
  auto plan = plan_training(job, binary_set(), 2);
  EXPECT_EQ(plan.algorithm, (AlgorithmPlan{.every = 7, .protocol = ProtocolKind::kAsp}));
  plan.workers = 2;
  EXPECT_TRUE(has_own_states(plan));
  plan.rule.kind = RuleKind::kSgd;
  EXPECT_FALSE(has_own_states(plan)) << "it has none";

  const auto refused = [&](const auto& change) {
    auto changed = job;
    change(changed);
    return refusal([&] { static_cast<void>(plan_training(changed, binary_set(), 1)); });
  };
  EXPECT_THAT(refused([](Job& j) { j.functions.engine = "single"; }), HasSubstr("engine \"single\" is one process"));
  EXPECT_THAT(refused([](Job& j) { j.exchange.algorithm = "admm"; }),
              HasSubstr("algorithm \"admm\" agrees now and then"));
  EXPECT_THAT(refused([](Job& j) {
                j.exchange.protocol = "ssp";
                j.exchange.pattern = "tree";
              }),
              HasSubstr("pattern \"tree\" sums before"));
}

TEST(Plan, CountsExchanges) {
  TrainingPlan plan;
  EXPECT_EQ(exchanges_after(plan, 57, 10), 57U);
  plan.algorithm.kind = AlgorithmKind::kModelAveraging;
  EXPECT_EQ(exchanges_after(plan, 57, 10), 5U);
  plan.algorithm.every = 3;
  EXPECT_EQ(exchanges_after(plan, 57, 10), 5U * 4 + 2);
  plan.algorithm = {.kind = AlgorithmKind::kAdmm};
  EXPECT_EQ(exchanges_after(plan, 57, 10), 5U);
}

TEST(Plan, CutsTheBatchToTheSet) {
  Job job;
  job.functions.engine = "single";
  job.optimizer.batch_size = 1'000'000;
  EXPECT_EQ(plan_training(job, binary_set(), 1).batch_size, 1000U);
}

TEST(Plan, TakesAnyLabelsForKMeansAndRefusesWhatItHasNoUseFor) {
  auto set = binary_set();
  set.encoding.task = Task::kRegression;
  set.encoding.classes = {};
  set.train.class_weight_sums = {};
  const auto kmeans = [] {
    Job job;
    job.model.kind = "kmeans";
    return job;
  };
  auto job = kmeans();
  job.seed = 7;
  const auto plan = plan_training(job, set, 2);
  EXPECT_EQ(plan.model.clusters, 8U);
  EXPECT_EQ(plan.algorithm.kind, AlgorithmKind::kExpectationMaximisation);
  EXPECT_EQ(plan.algorithm.seed, 7U);
  EXPECT_EQ(plan.algorithm.tolerance, 1e-4);
  EXPECT_TRUE(plan.learning_rate.has_value()) << "none is searched";
  EXPECT_EQ(exchanges_after(plan, 12, 4), 3U);

  const auto refused = [&](const auto& change) {
    auto other = kmeans();
    change(other);
    return refusal([&] { static_cast<void>(plan_training(other, binary_set(), 1)); });
  };
  EXPECT_EQ(refused([](Job&) {}), "");
  EXPECT_THAT(refused([](Job& j) { j.model.l1 = 1; }), HasSubstr("model.l1 is given, but k-means"));
  EXPECT_THAT(refused([](Job& j) { j.model.fit_bias = false; }), HasSubstr("leave model.fit_bias out"));
  EXPECT_THAT(refused([](Job& j) { j.model.class_weight_balanced = true; }), HasSubstr("model.class_weight is given"));
  EXPECT_THAT(refused([](Job& j) { j.optimizer.name = "adam"; }), HasSubstr("optimizer.name is given"));
  EXPECT_THAT(refused([](Job& j) { j.optimizer.learning_rate = 1; }), HasSubstr("optimizer.learning_rate is given"));
  EXPECT_THAT(refused([](Job& j) { j.exchange.algorithm = "admm"; }), HasSubstr("exchange.algorithm is given"));
  EXPECT_THAT(refused([](Job& j) { j.exchange.rho = 1; }), HasSubstr("exchange.rho is given"));
  EXPECT_THAT(refused([](Job& j) { j.model.clusters = 1001; }), HasSubstr("only 1000 training rows"));
  EXPECT_THAT(refused([](Job& j) {
                j.model.kind = "svm";
                j.model.seeding = "random";
              }),
              HasSubstr("model.seeding is given, but a model of kind svm has no clusters"));
  EXPECT_THAT(refused([](Job& j) {
                j.model.kind = "auto";
                j.stop.improvement = 0.1;
              }),
              HasSubstr("stop.improvement is given, but a model of kind logistic"));
}

TEST(Plan, KnowsWhatFitsAMixture) {
  auto set = binary_set();
  const auto mixture = [] {
    Job job;
    job.model.kind = "gaussian-mixture";
    return job;
  };
  auto job = mixture();
  job.stop.target_loss = -3;
  const auto plan = plan_training(job, set, 2);
  EXPECT_EQ(plan.model.clusters, 8U);
  EXPECT_EQ(plan.model.covariance, CovarianceKind::kDiagonal);
  EXPECT_EQ(plan.model.reg_covar, 1e-6);
  EXPECT_EQ(plan.algorithm.kind, AlgorithmKind::kExpectationMaximisation);

  const auto refused = [&](const auto& change) {
    auto other = mixture();
    change(other);
    return refusal([&] { static_cast<void>(plan_training(other, set, 1)); });
  };
  EXPECT_THAT(refused([](Job& j) { j.model.l1 = 1; }), HasSubstr("model.l1 is given, but a mixture has no use"));
  EXPECT_THAT(refused([](Job& j) { j.model.covariance = "full"; }), HasSubstr("the rows are sparse"));
  EXPECT_THAT(refused([](Job& j) {
                j.model.kind = "kmeans";
                j.model.covariance = "full";
              }),
              HasSubstr("model.covariance is given, but a model of kind kmeans has no covariances"));
  EXPECT_THAT(refused([](Job& j) {
                j.model.kind = "svm";
                j.model.reg_covar = 1;
              }),
              HasSubstr("model.reg_covar is given"));
  EXPECT_THAT(refused([](Job& j) {
                j.model.kind = "kmeans";
                j.stop.target_loss = 0;
              }),
              HasSubstr("is never below 0"));
  set.encoding.dense = true;
  EXPECT_EQ(refused([](Job& j) { j.model.covariance = "full"; }), "");
  set.encoding.features = 5000;
  EXPECT_THAT(refused([](Job& j) { j.model.covariance = "full"; }),
              HasSubstr("a component would have 12502500 numbers"));
}

}  // namespace
}  // namespace virga
