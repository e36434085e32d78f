#include "virga/training/make_exchange.h"

#include <utility>

#include "virga/base/error.h"
#include "virga/exchange/admm_exchange.h"
#include "virga/exchange/asp_exchange.h"
#include "virga/exchange/bsp_exchange.h"
#include "virga/exchange/model_averaging_exchange.h"
#include "virga/exchange/ssp_exchange.h"
#include "virga/model/expectation.h"

namespace virga {

std::unique_ptr<Algorithm> make_algorithm(const TrainingPlan& plan, const Kernels& kernels) {
  auto model = make_model(plan.model, kernels);
  if (plan.algorithm.kind == AlgorithmKind::kExpectationMaximisation) {
    return std::make_unique<Expectation>(std::move(model));
  }
  return std::make_unique<GradientAveraging>(std::move(model), plan.mean_weight);
}

EmOptions em_options(const TrainingPlan& plan) {
  return {.statistics = statistics_layout(plan.model),
          .maximise = [model = plan.model, seed = plan.algorithm.seed](
                          std::span<const std::vector<double>> statistics, std::uint32_t epoch,
                          Tables& parameters) { return !maximise(model, statistics, seed, epoch, parameters); },
          .tolerance = plan.algorithm.tolerance,
          // The zero of a density's logarithm goes with the unit of the features.
          .absolute = plan.model.kind == ModelKind::kGaussianMixture};
}

std::unique_ptr<ReplicaExchange> make_exchange(const TrainingPlan& plan, const Manifest& manifest,
                                               std::uint64_t rounds_per_epoch, Channel& channel, Register* models,
                                               const ReplicaExchange::Options& options, const Tables& parameters,
                                               const UpdateRuleOptions& rule, Position start) {
  const auto& algorithm = plan.algorithm;
  const Period period{.rounds = algorithm.every, .rounds_per_epoch = rounds_per_epoch};
  const auto cuts_of = [&](const Layout& summed) {
    return cut_tables(summed, AllReduce::ranges(options.group.size, options.all_reduce), manifest.key_quantiles);
  };
  switch (algorithm.kind) {
    case AlgorithmKind::kGradientAveraging:
      break;
    case AlgorithmKind::kModelAveraging:
      return std::make_unique<ModelAveragingExchange>(
          channel, options, parameters, rule, period,
          cuts_of(ModelAveragingExchange::summed_layout(parameters.layout, rule.kind)), start);
    case AlgorithmKind::kAdmm:
      return std::make_unique<AdmmExchange>(
          channel, options, parameters, rule,
          AdmmExchange::Penalty{
              .rho = algorithm.rho, .absolute = algorithm.tolerance / 100, .relative = algorithm.tolerance},
          period, cuts_of(AdmmExchange::summed_layout(parameters.layout)), start);
    case AlgorithmKind::kExpectationMaximisation:
      return std::make_unique<EmExchange>(channel, options, parameters, em_options(plan), rounds_per_epoch,
                                          cuts_of(statistics_layout(plan.model)), start);
  }
  switch (algorithm.protocol) {
    case ProtocolKind::kBsp:
      break;
    case ProtocolKind::kSsp:
      return std::make_unique<SspExchange>(
          channel, options, parameters, rule,
          SspExchange::Slack{.staleness = algorithm.staleness, .rounds_per_epoch = rounds_per_epoch}, start);
    case ProtocolKind::kAsp:
      check(models != nullptr, "ASP has registers");
      // NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): check() does not return
      return std::make_unique<AspExchange>(channel, *models, options, parameters, rule, period, start);
  }
  return std::make_unique<BspExchange>(channel, options, parameters, rule, cuts_of(parameters.layout), start);
}

}  // namespace virga
