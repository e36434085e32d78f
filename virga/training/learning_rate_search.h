#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <vector>

#include "virga/data/group_cache.h"
#include "virga/math/kernels.h"
#include "virga/model/model.h"
#include "virga/optimizer/update_rule.h"

namespace virga {

/// One learning rate that was tried: the mean loss of each row of the sample at the moment of its mini-batch, before
/// the update. Infinity if it was not finite.
struct RateTrial {
  double learning_rate = 0;
  double loss = 0;
  bool operator==(const RateTrial&) const = default;
};

/// What `learning_rate = auto` does, see docs/experiments/defaults.md: every rate of a grid, halving from the
/// optimiser's largest, makes one pass over the same sample of clamp(rows / 8, 2048, 16384) training rows in
/// mini-batches of 32 at a quarter of the rate: 7 rates. Least squares with SGD, momentum or Nesterov, whose steps
/// follow the error without bound: 14 rates, as they are. Bounded by examples, a pure function of data, seed and
/// options; the trials run on up to `threads` threads.
struct RateSearch {
  ModelSpec model;
  UpdateRuleOptions rule;       ///< learning rate and, for AdaGrad, epsilon are set here
  double mean_weight = 1;       ///< of the training rows, class weights included
  double label_scale = 1;       ///< TrainingPlan::label_scale
  double label_mean = 0;        ///< least squares: where the bias starts
  bool default_epsilon = true;  ///< AdaGrad's epsilon goes with the batch size
  std::uint64_t seed = 1;
  unsigned threads = 1;
};

/// The trials, largest rate first. Throws Error(kInterrupted) when `stop` is requested.
[[nodiscard]] std::vector<RateTrial> search_learning_rate(const RateSearch& search, GroupCache& cache,
                                                          const Kernels& kernels, const std::stop_token& stop);

/// The largest rate whose loss is within 1 % of the lowest. Throws Error(kDiverged) if none is finite.
[[nodiscard]] double best_learning_rate(const std::vector<RateTrial>& trials);

}  // namespace virga
