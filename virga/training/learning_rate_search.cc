#include "virga/training/learning_rate_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "virga/base/error.h"
#include "virga/base/threads.h"
#include "virga/exchange/memory_exchange.h"
#include "virga/training/algorithm.h"
#include "virga/training/defaults.h"
#include "virga/training/plan.h"
#include "virga/training/sample.h"

namespace virga {
namespace {

constexpr std::uint64_t kBatchSize = 32;
constexpr double kTolerance = 1.01;

/// Which rates are tried: so many, each half the one before, at this factor.
struct Grid {
  int rates = 7;
  double factor = 0.25;  // as the default schedule's in its first epoch
};

/// The gradient of a squared error grows with the distance, without bound: above a rate that depends on the features,
/// steps that follow it go ever further away. So rates have to be tried as they are, down to lower ones.
Grid grid_of(const RateSearch& search) {
  const bool follows = search.rule.kind != RuleKind::kAdagrad && search.rule.kind != RuleKind::kAdam;
  if (search.model.kind == ModelKind::kLeastSquares && follows) return {.rates = 14, .factor = 1};
  return {};
}

/// The largest rate worth trying; the scale of a step differs between the rules.
double largest_rate(RuleKind kind) {
  switch (kind) {
    case RuleKind::kSgd:
      return 4;
    case RuleKind::kMomentum:
    case RuleKind::kNesterov:
      return 0.5;
    case RuleKind::kAdagrad:
      return 1;
    case RuleKind::kAdam:
      return 0.125;
  }
  return 1;
}

/// The sample in mini-batches; made once, as all trials use the same.
std::vector<MiniBatch> cut(const std::vector<RowRange>& sample, std::uint32_t features) {
  std::vector<MiniBatch> batches;
  BatchAssembler assembler(features);
  for (const auto& range : sample) {
    for (auto row = range.first_row; row < range.last_row; row += kBatchSize) {
      const RowRange part{range.group, row, std::min<std::uint32_t>(row + kBatchSize, range.last_row)};
      batches.push_back(assembler.assemble({&part, 1}));
    }
  }
  return batches;
}

double trial(const RateSearch& search, const std::vector<MiniBatch>& batches, double rate, const Kernels& kernels,
             const std::stop_token& stop) {
  auto options = search.rule;
  options.learning_rate = rate * grid_of(search).factor * search.label_scale;
  if (options.kind == RuleKind::kAdagrad && search.default_epsilon) {
    options.epsilon = default_adagrad_epsilon(kBatchSize) * search.label_scale * search.label_scale;
  }
  MemoryExchange replica(1, initial_parameters(search.model, search.label_mean), options);
  auto& exchange = replica.rank(0);
  GradientAveraging algorithm(make_model(search.model, kernels), search.mean_weight);
  double loss = 0;
  double weight = 0;
  for (std::size_t round = 0; round < batches.size(); ++round) {
    if (stop.stop_requested()) throw Error(ErrorKind::kInterrupted, "stopped during the search for a learning rate");
    const auto& batch = batches[round];
    const auto& contribution = algorithm.local_step(exchange.read(round, batch.keys), batch);
    loss += contribution.loss;
    weight += contribution.weight;
    if (!std::isfinite(loss)) return std::numeric_limits<double>::infinity();
    exchange.write(round, contribution);
  }
  return weight > 0 ? loss / weight : std::numeric_limits<double>::infinity();
}

}  // namespace

std::vector<RateTrial> search_learning_rate(const RateSearch& search, GroupCache& cache, const Kernels& kernels,
                                            const std::stop_token& stop) {
  const auto wanted = std::clamp<std::uint64_t>(cache.manifest().train.rows / 8, 2048, 16384);
  const auto sample = draw_sample(cache, search.seed, wanted);
  const auto batches = cut(sample, search.model.features);
  std::vector<RateTrial> trials(static_cast<std::size_t>(grid_of(search).rates));
  parallel_for(search.threads, trials.size(), [&](std::size_t i) {
    const double rate = largest_rate(search.rule.kind) / static_cast<double>(1U << i);
    trials[i] = {rate, trial(search, batches, rate, kernels, stop)};
  });
  return trials;
}

double best_learning_rate(const std::vector<RateTrial>& trials) {
  const auto lowest = std::ranges::min_element(trials, {}, &RateTrial::loss);
  if (lowest == trials.end() || !std::isfinite(lowest->loss)) {
    throw Error(
        ErrorKind::kDiverged, "no learning rate between the largest and the smallest tried gave a finite loss",
        "look for extreme values with 'virga inspect', scale the data (--scale standard), or give --learning-rate");
  }
  const auto found =
      std::ranges::find_if(trials, [&](const RateTrial& t) { return t.loss <= kTolerance * lowest->loss; });
  return found->learning_rate;
}

}  // namespace virga
