#include "virga/training/plan.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "virga/base/error.h"
#include "virga/base/units.h"
#include "virga/collective/all_reduce.h"
#include "virga/math/elementary.h"
#include "virga/training/defaults.h"
#include "virga/training/function_size.h"

namespace virga {
namespace {

/// Multiplications of a rank in a step, some microseconds' worth, below which another rank makes the step no faster.
constexpr double kLeastWork = 4096;

constexpr std::pair<std::string_view, ModelKind> kKinds[] = {{"logistic", ModelKind::kLogistic},
                                                             {"svm", ModelKind::kSvm},
                                                             {"svm-squared", ModelKind::kSvmSquared},
                                                             {"softmax", ModelKind::kSoftmax},
                                                             {"least-squares", ModelKind::kLeastSquares},
                                                             {"kmeans", ModelKind::kKMeans},
                                                             {"gaussian-mixture", ModelKind::kGaussianMixture}};

/// Rows of a round of expectation maximisation, over all workers: enough that what a step costs beside its rows does
/// not show.
constexpr std::uint64_t kRowsOfExpectation = 16384;
constexpr std::uint32_t kClusters = 8;

ModelKind default_kind(Task task) {
  switch (task) {
    case Task::kBinary:
      return ModelKind::kLogistic;
    case Task::kMulticlass:
      return ModelKind::kSoftmax;
    case Task::kRegression:
      return ModelKind::kLeastSquares;
  }
  return ModelKind::kLogistic;
}

/// A step of AdaGrad and Adam is as long whatever the gradient's unit is; those of the others follow it by themselves.
double label_scale(const TrainingPlan& plan, const Split& train) {
  const bool adapts = plan.rule.kind == RuleKind::kAdagrad || plan.rule.kind == RuleKind::kAdam;
  if (plan.model.kind != ModelKind::kLeastSquares || !adapts || !(train.label_variance > 0)) return 1;
  return std::sqrt(train.label_variance);
}

bool fits(ModelKind kind, Task task) {
  if (has_clusters(kind)) return true;
  switch (task) {
    case Task::kBinary:
      return kind != ModelKind::kLeastSquares;
    case Task::kMulticlass:
      return kind == ModelKind::kSoftmax;
    case Task::kRegression:
      return kind == ModelKind::kLeastSquares;
  }
  return false;
}

ModelKind choose_kind(const std::string& wanted, const Encoding& encoding) {
  const auto fallback = default_kind(encoding.task);
  if (wanted == "auto") return fallback;
  const auto* found = std::ranges::find(kKinds, wanted, [](const auto& entry) { return entry.first; });
  check(found != std::end(kKinds), "model kinds are those of the option's declaration");
  const auto kind = found->second;
  if (fits(kind, encoding.task)) return kind;
  const auto refuse = [&](std::string_view reason, std::string remedy) {
    throw Error(ErrorKind::kUsage, fmt::format("model.kind '{}' does not fit the data: {}", wanted, reason),
                std::move(remedy));
  };
  if (encoding.task == Task::kRegression) {
    refuse("its labels are numbers, not classes", "use --model least-squares, or leave it out");
  }
  refuse(fmt::format("it has {} classes", encoding.classes.size()),
         kind == ModelKind::kLeastSquares
             ? fmt::format("use --model {}, or import it with --task regression, which takes its labels as numbers",
                           to_string(fallback))
             : "use --model softmax, or leave it out");
  return fallback;
}

std::vector<float> class_weights(const Job::Model& job, const Manifest& manifest) {
  const auto& classes = manifest.encoding.classes;
  if (!job.class_weight_balanced && job.class_weight.empty()) return {};
  if (classes.empty()) {
    throw Error(ErrorKind::kUsage, "class_weight is given, but the labels are numbers, not classes",
                "leave class_weight out");
  }
  std::vector<float> weights(classes.size(), 1.0F);
  if (job.class_weight_balanced) {
    const auto& sums = manifest.train.class_weight_sums;
    for (std::size_t c = 0; c < weights.size(); ++c) {
      if (sums[c] > 0)
        weights[c] = static_cast<float>(manifest.train.weight / (static_cast<double>(weights.size()) * sums[c]));
    }
  }
  for (const auto& [name, weight] : job.class_weight) {
    const auto found = std::ranges::find(classes, name);
    if (found == classes.end()) {
      const auto nearest = nearest_word(name, classes);
      throw Error(ErrorKind::kUsage, fmt::format("class_weight names class '{}', which the data does not have", name),
                  nearest.empty() ? fmt::format("its classes are {}", fmt::join(classes, ", "))
                                  : fmt::format("did you mean '{}'?", nearest));
    }
    weights[static_cast<std::size_t>(found - classes.begin())] = static_cast<float>(weight);
  }
  return weights;
}

double mean_weight(const Split& train, const std::vector<float>& class_weight) {
  double sum = train.weight;
  if (!class_weight.empty()) {
    sum = 0;
    for (std::size_t c = 0; c < class_weight.size(); ++c) sum += double{class_weight[c]} * train.class_weight_sums[c];
  }
  if (!(sum > 0)) throw Error(ErrorKind::kBadData, "the training rows have no weight at all", "give weights above 0");
  return sum / static_cast<double>(train.rows);
}

/// Options that models of clusters have no use for must be as they are by default, and those of clusters are for them
/// alone.
void check_fits_clusters(const Job& job, ModelKind kind) {
  const Job usual;
  const auto refuse = [](std::string_view option, std::string_view why) {
    throw Error(ErrorKind::kUsage, fmt::format("{} is given, but {}", option, why),
                fmt::format("leave {} out", option));
  };
  if (kind != ModelKind::kGaussianMixture) {
    if (job.stop.target_loss && !(*job.stop.target_loss > 0)) {
      throw Error(ErrorKind::kUsage,
                  fmt::format("stop.target_loss is {:g}, but the loss of a model of kind {} is never below 0",
                              *job.stop.target_loss, to_string(kind)),
                  "give a --target-loss above 0");
    }
    const auto why = fmt::format("a model of kind {} has no covariances", to_string(kind));
    if (job.model.covariance != usual.model.covariance) refuse("model.covariance", why);
    if (job.model.reg_covar != usual.model.reg_covar) refuse("model.reg_covar", why);
  }
  if (!has_clusters(kind)) {
    const auto why = fmt::format("a model of kind {} has no clusters", to_string(kind));
    if (job.model.clusters) refuse("model.clusters", why);
    if (job.model.seeding != usual.model.seeding) refuse("model.seeding", why);
    if (job.stop.improvement != usual.stop.improvement) refuse("stop.improvement", why);
    return;
  }
  const std::pair<std::string_view, bool> given[] = {
      {"model.l1", job.model.l1 != usual.model.l1},
      {"model.l2", job.model.l2 != usual.model.l2},
      {"model.fit_bias", job.model.fit_bias != usual.model.fit_bias},
      {"model.class_weight", job.model.class_weight_balanced || !job.model.class_weight.empty()},
      {"optimizer.name", job.optimizer.name != usual.optimizer.name},
      {"optimizer.learning_rate", job.optimizer.learning_rate.has_value()},
      {"optimizer.schedule", job.optimizer.schedule != usual.optimizer.schedule},
      {"optimizer.momentum", job.optimizer.momentum != usual.optimizer.momentum},
      {"optimizer.beta1", job.optimizer.beta1 != usual.optimizer.beta1},
      {"optimizer.beta2", job.optimizer.beta2 != usual.optimizer.beta2},
      {"optimizer.epsilon", job.optimizer.epsilon.has_value()},
      {"exchange.algorithm", job.exchange.algorithm != usual.exchange.algorithm},
      {"exchange.every", job.exchange.every.has_value()},
      {"exchange.passes", job.exchange.passes != usual.exchange.passes},
      {"exchange.rho", job.exchange.rho.has_value()},
      {"exchange.tolerance", job.exchange.tolerance != usual.exchange.tolerance}};
  for (const auto& [option, is_given] : given) {
    if (!is_given) continue;
    refuse(option, kind == ModelKind::kKMeans ? "k-means has no use for it: its centres are means of rows"
                                              : "a mixture has no use for it: its parameters are moments of rows");
  }
}

UpdateRuleOptions rule_of(const Job& job) {
  static constexpr std::pair<std::string_view, RuleKind> kRules[] = {{"sgd", RuleKind::kSgd},
                                                                     {"momentum", RuleKind::kMomentum},
                                                                     {"nesterov", RuleKind::kNesterov},
                                                                     {"adagrad", RuleKind::kAdagrad},
                                                                     {"adam", RuleKind::kAdam}};
  const auto* found = std::ranges::find(kRules, job.optimizer.name, [](const auto& entry) { return entry.first; });
  check(found != std::end(kRules), "optimisers are those of the option's declaration");
  UpdateRuleOptions rule;
  rule.kind = found->second;
  rule.l1 = job.model.l1;
  rule.l2 = job.model.l2;
  rule.momentum = job.optimizer.momentum;
  rule.beta1 = job.optimizer.beta1;
  rule.beta2 = job.optimizer.beta2;
  return rule;
}

/// What protocols of workers that are rounds apart do not go with.
void check_protocol(const Job& job, const AlgorithmPlan& plan) {
  const auto& protocol = job.exchange.protocol;
  if (job.functions.engine == "single") {
    throw Error(
        ErrorKind::kUnsupported,
        fmt::format("protocol \"{}\" is one of workers that are apart, and engine \"single\" is one process", protocol),
        "use --engine local, or --protocol bsp");
  }
  if (plan.kind != AlgorithmKind::kGradientAveraging) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("protocol \"{}\" is for gradients of each step, and algorithm \"{}\" agrees now and then",
                            protocol, to_string(plan.kind)),
                "use --protocol bsp, or --algorithm gradient-averaging");
  }
  if (job.exchange.channel == "direct" || job.exchange.channel.starts_with("direct:")) {
    throw Error(
        ErrorKind::kUnsupported,
        fmt::format("protocol \"{}\" needs a store that keeps what workers say, and channel \"direct\" has none",
                    protocol),
        "use --channel ps, or --protocol bsp");
  }
  const auto& pattern = job.exchange.pattern;
  if (plan.protocol == ProtocolKind::kSsp && pattern != "auto" && pattern != "default" &&
      pattern != to_string(Pattern::kAllToAll)) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("pattern \"{}\" sums before anybody has a sum, and with protocol \"ssp\" workers go on "
                            "before all have come",
                            job.exchange.pattern),
                "use --pattern all-to-all, or --protocol bsp");
  }
}

AlgorithmPlan algorithm_of(const Job& job, ModelKind model) {
  AlgorithmPlan plan;
  if (has_clusters(model)) {
    plan.kind = AlgorithmKind::kExpectationMaximisation;
    if (job.exchange.protocol != "bsp") check_protocol(job, plan);
    plan.tolerance = job.stop.improvement;
    plan.seed = job.seed;
    return plan;
  }
  for (const auto kind : {AlgorithmKind::kModelAveraging, AlgorithmKind::kAdmm}) {
    if (job.exchange.algorithm == to_string(kind)) plan.kind = kind;
  }
  for (const auto protocol : {ProtocolKind::kSsp, ProtocolKind::kAsp}) {
    if (job.exchange.protocol == to_string(protocol)) plan.protocol = protocol;
  }
  if (plan.protocol != ProtocolKind::kBsp) check_protocol(job, plan);
  if (plan.protocol == ProtocolKind::kSsp) plan.staleness = job.exchange.staleness;
  if (plan.protocol == ProtocolKind::kAsp) plan.every = job.exchange.every.value_or(0);
  if (plan.kind == AlgorithmKind::kGradientAveraging) return plan;
  if (job.functions.engine == "single") {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("algorithm \"{}\" is one of workers that are apart, and engine \"single\" is one process",
                            job.exchange.algorithm),
                "use --engine local, or --algorithm gradient-averaging");
  }
  if (plan.kind == AlgorithmKind::kModelAveraging) {
    plan.every = job.exchange.every.value_or(0);
  } else {
    plan.passes = job.exchange.passes;
    plan.rho = job.exchange.rho.value_or(default_admm_rho(job.model.l2));
    plan.tolerance = job.exchange.tolerance;
  }
  return plan;
}

/// As many ranks as cores (for sparse rows half of them: the other half prepares mini-batches, whose keys are to be
/// merged), as long as a rank's share of a step outweighs what it costs to meet the others.
unsigned default_workers(const TrainingPlan& plan, const Split& train, unsigned cores) {
  double outputs = outputs_of(plan.model);
  if (plan.model.kind == ModelKind::kGaussianMixture && plan.model.covariance == CovarianceKind::kFull) {
    outputs *= plan.model.features / 2.0;
  }
  const double work = static_cast<double>(plan.batch_size) * static_cast<double>(train.nonzeros) /
                      static_cast<double>(train.rows) * outputs;
  const unsigned most = plan.model.dense ? cores : (cores + 1) / 2;
  return static_cast<unsigned>(std::clamp(work / kLeastWork, 1.0, static_cast<double>(most)));
}

/// Of the best constant score, by the loss that the model trains on; see docs/metrics.md.
double constant_loss(const ModelSpec& model, const Split& train) {
  if (model.kind == ModelKind::kLeastSquares) return train.label_variance;
  if (has_clusters(model.kind)) return 0;
  std::vector<double> weight = train.class_weight_sums;
  for (std::size_t c = 0; c < model.class_weights.size(); ++c) weight[c] *= double{model.class_weights[c]};
  double total = 0;
  for (const double w : weight) total += w;
  double entropy = 0;
  for (const double w : weight) entropy -= w > 0 ? w / total * math::log(w / total) : 0;
  const double rare = std::ranges::min(weight) / total;
  switch (model.kind) {
    case ModelKind::kSvm:
      return 2 * rare;
    case ModelKind::kSvmSquared:
      return 4 * rare * (1 - rare);
    default:
      return entropy;
  }
}

/// Of scores that are all 0.
double start_loss(const ModelSpec& model) {
  switch (model.kind) {
    case ModelKind::kLogistic:
      return math::log(2);
    case ModelKind::kSoftmax:
      return math::log(model.classes);
    case ModelKind::kSvm:
    case ModelKind::kSvmSquared:
      return 1;
    case ModelKind::kLeastSquares:
    case ModelKind::kKMeans:
    case ModelKind::kGaussianMixture:
      return 0;
  }
  return 0;
}

void plan_mixture(const Job& job, ModelSpec& model) {
  model.reg_covar = job.model.reg_covar;
  if (job.model.covariance != to_string(CovarianceKind::kFull)) return;
  model.covariance = CovarianceKind::kFull;
  if (!model.dense) {
    throw Error(ErrorKind::kUnsupported,
                "model.covariance is full, but the rows are sparse: the covariance of all pairs of features would make "
                "them dense",
                "use --covariance diagonal, or import the data as dense rows (CSV with numeric columns)");
  }
  if (model.features > kMostFullFeatures) {
    throw Error(
        ErrorKind::kUnsupported,
        fmt::format("model.covariance is full, but the rows have {} features: a component would have {} numbers",
                    model.features, std::uint64_t{model.features} * (std::uint64_t{model.features} + 1) / 2),
        fmt::format("use --covariance diagonal, or no more than {} features", kMostFullFeatures));
  }
}

/// Of models of clusters: no labels, no update rule.
void plan_clusters(const Job& job, const Split& train, TrainingPlan& plan) {
  plan.model.clusters = job.model.clusters.value_or(kClusters);
  if (plan.model.clusters > train.rows) {
    throw Error(
        ErrorKind::kUsage,
        fmt::format("model.clusters is {}, but there are only {} training rows", plan.model.clusters, train.rows),
        "ask for fewer --clusters");
  }
  plan.model.classes = 0;
  plan.model.fit_bias = false;
  if (plan.model.kind == ModelKind::kGaussianMixture) plan_mixture(job, plan.model);
  plan.rule = {.kind = RuleKind::kSgd, .learning_rate = 0};
  plan.learning_rate = 0;
  plan.schedule = ScheduleKind::kConstant;
  plan.batch_size = std::min(job.optimizer.batch_size.value_or(kRowsOfExpectation), train.rows);
}

}  // namespace

std::string_view to_string(AlgorithmKind kind) noexcept {
  switch (kind) {
    case AlgorithmKind::kGradientAveraging:
      return "gradient-averaging";
    case AlgorithmKind::kModelAveraging:
      return "model-averaging";
    case AlgorithmKind::kAdmm:
      return "admm";
    case AlgorithmKind::kExpectationMaximisation:
      return "expectation-maximisation";
  }
  return "";
}

std::string_view to_string(ProtocolKind kind) noexcept {
  switch (kind) {
    case ProtocolKind::kBsp:
      return "bsp";
    case ProtocolKind::kSsp:
      return "ssp";
    case ProtocolKind::kAsp:
      return "asp";
  }
  return "";
}

bool has_own_states(const TrainingPlan& plan) noexcept {
  if (plan.algorithm.kind == AlgorithmKind::kAdmm) return true;
  return plan.algorithm.protocol == ProtocolKind::kAsp && plan.rule.kind != RuleKind::kSgd && plan.workers > 1;
}

Schedule make_schedule(const TrainingPlan& plan, const Manifest& manifest, std::uint64_t seed) {
  const auto kind = plan.algorithm.kind;
  if (kind != AlgorithmKind::kAdmm && kind != AlgorithmKind::kExpectationMaximisation) {
    return {manifest.train, manifest.rows_per_group, seed, plan.batch_size};
  }
  return {manifest.train, manifest.rows_per_group, seed, plan.batch_size, plan.algorithm.passes};
}

std::uint64_t exchanges_after(const TrainingPlan& plan, std::uint64_t rounds, std::uint64_t rounds_per_epoch) noexcept {
  const auto& algorithm = plan.algorithm;
  if (algorithm.kind == AlgorithmKind::kGradientAveraging) return rounds;
  const auto epochs = rounds / rounds_per_epoch;
  if (algorithm.every == 0) return epochs;
  const auto of_epoch = (rounds_per_epoch + algorithm.every - 1) / algorithm.every;
  return epochs * of_epoch + rounds % rounds_per_epoch / algorithm.every;
}

std::string algorithm_text(const AlgorithmPlan& plan) {
  switch (plan.kind) {
    case AlgorithmKind::kGradientAveraging:
      if (plan.protocol == ProtocolKind::kSsp) {
        return fmt::format("gradient averaging, at most {} round{} stale", plan.staleness,
                           plan.staleness == 1 ? "" : "s");
      }
      if (plan.protocol == ProtocolKind::kAsp) {
        return plan.every == 0
                   ? "asynchronous steps on one global model; workers meet once an epoch"
                   : fmt::format("asynchronous steps on one global model; workers meet every {} rounds", plan.every);
      }
      return "gradient averaging in each round";
    case AlgorithmKind::kModelAveraging:
      return plan.every == 0 ? "model averaging once an epoch"
                             : fmt::format("model averaging every {} rounds", plan.every);
    case AlgorithmKind::kAdmm:
      return fmt::format("ADMM, rho {:.2g}, {} pass{} an epoch", plan.rho, plan.passes, plan.passes == 1 ? "" : "es");
    case AlgorithmKind::kExpectationMaximisation:
      return "expectation maximisation, a step an epoch";
  }
  return "";
}

Tables initial_parameters(const ModelSpec& model, double label_mean) {
  Tables tables(layout_of(model));
  if (model.kind == ModelKind::kLeastSquares && model.fit_bias)
    tables.values.back()[0] = static_cast<float>(label_mean);
  return tables;
}

TrainingPlan plan_training(const Job& job, const Manifest& manifest, unsigned cores) {
  const auto& train = manifest.train;
  if (train.rows == 0)
    throw Error(ErrorKind::kBadData, "the set has no training rows", "import it with a smaller --validation-fraction");
  TrainingPlan plan;
  plan.model.kind = choose_kind(job.model.kind, manifest.encoding);
  check_fits_clusters(job, plan.model.kind);
  plan.model.features = manifest.encoding.features;
  plan.model.classes = static_cast<std::uint32_t>(manifest.encoding.classes.size());
  plan.model.dense = manifest.encoding.dense;
  plan.model.fit_bias = job.model.fit_bias;
  plan.model.class_weights = class_weights(job.model, manifest);
  plan.mean_weight = mean_weight(train, plan.model.class_weights);
  if (plan.model.kind == ModelKind::kLeastSquares) {
    plan.label_mean = job.model.fit_bias ? train.label_mean : 0;
  }

  plan.algorithm = algorithm_of(job, plan.model.kind);
  plan.rule = rule_of(job);
  plan.label_scale = label_scale(plan, train);
  plan.epochs = job.stop.epochs;
  plan.batch_size = std::min(job.optimizer.batch_size.value_or(default_batch_size(train.rows)), train.rows);
  plan.threads = cores;
  if (has_clusters(plan.model.kind)) plan_clusters(job, train, plan);
  const auto said = function_count(job.functions, cores);
  plan.workers = said != 0 ? said : default_workers(plan, train, cores);
  plan.constant_loss = constant_loss(plan.model, train);
  plan.start_loss = start_loss(plan.model);
  if (has_clusters(plan.model.kind)) return plan;
  plan.learning_rate = job.optimizer.learning_rate;
  plan.schedule = schedule_kind(job.optimizer.schedule);
  const bool falls = plan.schedule != ScheduleKind::kConstant && plan.schedule != ScheduleKind::kInverseSqrt;
  plan.patience_after = falls ? plan.epochs * 3 / 4 : 0;
  plan.forget = plan.rule.kind == RuleKind::kAdagrad && job.optimizer.schedule == "auto";
  plan.default_epsilon = plan.rule.kind == RuleKind::kAdagrad && !job.optimizer.epsilon;
  if (job.optimizer.epsilon) {
    plan.rule.epsilon = *job.optimizer.epsilon;
  } else if (plan.rule.kind == RuleKind::kAdagrad) {
    plan.rule.epsilon = default_adagrad_epsilon(plan.batch_size) * plan.label_scale * plan.label_scale;
  }
  return plan;
}

}  // namespace virga
