#include "virga/driver/training_run.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {
namespace {

constexpr double kHopeless = 3;  // times the loss of the best constant prediction

}  // namespace

double find_learning_rate(const TrainingRun& run, GroupCache& train, const Kernels& kernels, TrainingObserver& observer,
                          const std::stop_token& stop) {
  const auto& plan = run.plan;
  if (plan.learning_rate) return *plan.learning_rate;
  const RateSearch search{.model = plan.model,
                          .rule = plan.rule,
                          .mean_weight = plan.mean_weight,
                          .label_scale = plan.label_scale,
                          .label_mean = plan.label_mean,
                          .default_epsilon = plan.default_epsilon,
                          .seed = run.seed,
                          .threads = plan.threads};
  const auto trials = search_learning_rate(search, train, kernels, stop);
  const double rate = best_learning_rate(trials);
  observer.rate_found(rate, trials);
  return rate;
}

void find_first_centres(TrainingRun& run, Seeding seeding, GroupCache& train, const std::stop_token& stop) {
  auto& plan = run.plan;
  if (!has_clusters(plan.model.kind)) return;
  auto first = first_centres(plan.model, seeding, run.seed, plan.threads, train, stop);
  plan.constant_loss = first.base_loss;
  if (run.start) return;
  run.start = std::move(first.parameters);
}

void check_hope(const EpochReport& report, const TrainingPlan& plan, double learning_rate) {
  const double loss = report.validation_loss.value_or(report.train_loss);
  const bool finite = std::isfinite(loss) && std::isfinite(report.train_loss);
  if (has_clusters(plan.model.kind)) {
    if (finite) return;
    throw Error(ErrorKind::kDiverged,
                fmt::format("after epoch {} a {} is not finite", report.epoch,
                            plan.model.kind == ModelKind::kKMeans ? "distance" : "density"),
                "look for extreme values with 'virga inspect', or scale the data (--scale standard)");
  }
  if (finite && loss <= kHopeless * std::max(plan.constant_loss, plan.start_loss)) return;
  throw Error(ErrorKind::kDiverged,
              finite ? fmt::format("after epoch {} the loss is {:.4g}, far above the {:.4g} of a constant prediction",
                                   report.epoch, loss, plan.constant_loss)
                     : fmt::format("after epoch {} the loss is not finite", report.epoch),
              fmt::format("lower the learning rate (it is {:g}; try --learning-rate {:g}){}", learning_rate,
                          learning_rate / 10, plan.learning_rate ? ", or leave it to be searched" : ""));
}

}  // namespace virga
