#include "virga/training/plan.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "virga/base/error.h"
#include "virga/base/units.h"
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
                                                             {"least-squares", ModelKind::kLeastSquares}};

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

ModelKind choose_kind(const std::string& wanted, const Encoding& encoding) {
  const auto fallback = default_kind(encoding.task);
  if (wanted == "auto") return fallback;
  const auto* found = std::ranges::find(kKinds, wanted, [](const auto& entry) { return entry.first; });
  check(found != std::end(kKinds), "model kinds are those of the option's declaration");
  const auto kind = found->second;
  const bool fits = encoding.task == Task::kBinary       ? true
                    : encoding.task == Task::kMulticlass ? kind == ModelKind::kSoftmax
                                                         : kind == ModelKind::kLeastSquares;
  if (!fits) {
    throw Error(
        ErrorKind::kUsage,
        fmt::format("model.kind '{}' does not fit the data: {}", wanted,
                    encoding.task == Task::kRegression ? std::string("its labels are numbers, not classes")
                                                       : fmt::format("it has {} classes", encoding.classes.size())),
        fmt::format("use --model {}, or leave it out",
                    encoding.task == Task::kRegression ? "least-squares" : "softmax"));
  }
  return kind;
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

/// As many ranks as cores (for sparse rows half of them: the other half prepares mini-batches, whose keys are to be
/// merged, and rows of parameters wander less between cores), as long as a rank's share of a step outweighs what it
/// costs to meet the others.
unsigned default_workers(const TrainingPlan& plan, const Split& train, unsigned cores) {
  const auto outputs = plan.model.kind == ModelKind::kSoftmax ? plan.model.classes : 1;
  const double work = static_cast<double>(plan.batch_size) * static_cast<double>(train.nonzeros) /
                      static_cast<double>(train.rows) * outputs;
  const unsigned most = plan.model.dense ? cores : (cores + 1) / 2;
  return static_cast<unsigned>(std::clamp(work / kLeastWork, 1.0, static_cast<double>(most)));
}

/// Of the best constant score, by the loss that the model trains on; see docs/metrics.md.
double constant_loss(const ModelSpec& model, const Split& train) {
  if (model.kind == ModelKind::kLeastSquares) return train.label_variance;
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
      return 0;
  }
  return 0;
}

}  // namespace

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
  plan.model.features = manifest.encoding.features;
  plan.model.classes = static_cast<std::uint32_t>(manifest.encoding.classes.size());
  plan.model.dense = manifest.encoding.dense;
  plan.model.fit_bias = job.model.fit_bias;
  plan.model.class_weights = class_weights(job.model, manifest);
  plan.mean_weight = mean_weight(train, plan.model.class_weights);
  if (plan.model.kind == ModelKind::kLeastSquares) {
    plan.label_mean = job.model.fit_bias ? train.label_mean : 0;
    plan.label_scale = train.label_variance > 0 ? std::sqrt(train.label_variance) : 1;
  }

  plan.rule = rule_of(job);
  plan.epochs = job.stop.epochs;
  plan.batch_size = std::min(job.optimizer.batch_size.value_or(default_batch_size(train.rows)), train.rows);
  plan.threads = cores;
  const auto said = function_size(job.functions, cores).workers;
  plan.workers = said != 0 ? said : default_workers(plan, train, cores);
  plan.constant_loss = constant_loss(plan.model, train);
  plan.start_loss = start_loss(plan.model);
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
