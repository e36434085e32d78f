#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "virga/data/manifest.h"
#include "virga/job/job.h"
#include "virga/model/model.h"
#include "virga/optimizer/schedule.h"
#include "virga/optimizer/update_rule.h"

namespace virga {

/// What a job comes to on its data: every "auto" resolved but the learning rate, which may need a search.
struct TrainingPlan {
  ModelSpec model;
  UpdateRuleOptions rule;  ///< without a learning rate if that is to be searched
  ScheduleKind schedule = ScheduleKind::kLinear;
  bool forget = false;           ///< AdaGrad's accumulators lose weight after each epoch (default_adagrad_decay)
  bool default_epsilon = false;  ///< AdaGrad's epsilon goes with the batch size (default_adagrad_epsilon)
  unsigned workers = 1;          ///< ranks
  unsigned threads = 1;          ///< for what is not done by ranks: the search, evaluation
  std::uint64_t batch_size = 0;
  std::uint32_t epochs = 0;
  std::optional<double> learning_rate;
  double mean_weight = 1;    ///< of a training row, class weights included
  double constant_loss = 0;  ///< mean training loss of the best constant prediction: the base rate
  double start_loss = 0;     ///< of scores that are all 0
  std::uint32_t patience_after =
      0;  ///< epochs that patience does not count: while a schedule's rates are high, losses go up and down
  double label_mean = 0;   ///< least squares: where the bias starts
  double label_scale = 1;  ///< least squares: what learning rates are multiplied by, the target's standard deviation
};

/// Throws Error(kUsage) when the job does not fit the data (kinds, classes, class weights), kBadData for data that
/// cannot be trained on (no rows, no weight).
[[nodiscard]] TrainingPlan plan_training(const Job& job, const Manifest& manifest, unsigned cores);

/// All zero, but a least-squares bias, which starts at the mean of the labels.
[[nodiscard]] Tables initial_parameters(const ModelSpec& model, double label_mean);

}  // namespace virga
