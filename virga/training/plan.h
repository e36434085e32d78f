#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "virga/data/manifest.h"
#include "virga/data/schedule.h"
#include "virga/job/job.h"
#include "virga/model/model.h"
#include "virga/optimizer/schedule.h"
#include "virga/optimizer/update_rule.h"

namespace virga {

/// What workers compute between exchanges.
enum class AlgorithmKind : std::uint8_t {
  kGradientAveraging,        ///< gradients of each round are summed, or stepped by, as the protocol says
  kModelAveraging,           ///< ModelAveragingExchange
  kAdmm,                     ///< AdmmExchange: each rank has the same rows in all epochs
  kExpectationMaximisation,  ///< EmExchange, of models that are trained by it: each rank has the same rows, too
};
/// "gradient-averaging", "model-averaging", "admm", "expectation-maximisation".
[[nodiscard]] std::string_view to_string(AlgorithmKind kind) noexcept;

/// How far workers may be apart that average gradients.
enum class ProtocolKind : std::uint8_t {
  kBsp,  ///< BspExchange
  kSsp,  ///< SspExchange
  kAsp,  ///< AspExchange
};
/// "bsp", "ssp", "asp".
[[nodiscard]] std::string_view to_string(ProtocolKind kind) noexcept;

struct AlgorithmPlan {
  AlgorithmKind kind = AlgorithmKind::kGradientAveraging;
  std::uint64_t every = 0;   ///< model averaging: rounds between two averages; ASP: two meetings; 0: an epoch
  std::uint32_t passes = 1;  ///< ADMM: passes through the rows in an epoch, after which z is agreed on
  double rho = 0.1;          ///< ADMM
  double tolerance = 1e-3;   ///< ADMM: of the residuals, relative; a hundredth of it absolute. EM: EmOptions::tolerance
  std::uint64_t seed = 0;    ///< EM: of the random numbers that a maximisation takes
  ProtocolKind protocol = ProtocolKind::kBsp;  ///< kBsp, unless gradients are averaged
  std::uint32_t staleness = 0;                 ///< SSP: rounds
  bool operator==(const AlgorithmPlan&) const = default;
};

/// What a job comes to on its data: every "auto" resolved but the learning rate, which may need a search.
struct TrainingPlan {
  ModelSpec model;
  AlgorithmPlan algorithm;
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
  double constant_loss = 0;  ///< mean training loss of the best constant prediction: the base rate. clusters: 0 until
                             ///< FirstCentres are known
  double start_loss = 0;     ///< of scores that are all 0
  std::uint32_t patience_after =
      0;  ///< epochs that patience does not count: while a schedule's rates are high, losses go up and down
  double label_mean = 0;   ///< least squares: where the bias starts
  double label_scale = 1;  ///< what learning rates are multiplied by: of least squares with AdaGrad and Adam, the
                           ///< target's standard deviation
};

/// Throws Error(kUsage) when the job does not fit the data (kinds, classes, class weights), kBadData for data that
/// cannot be trained on (no rows, no weight).
[[nodiscard]] TrainingPlan plan_training(const Job& job, const Manifest& manifest, unsigned cores);

/// Which rows belong to which round and rank. `manifest` is borrowed.
[[nodiscard]] Schedule make_schedule(const TrainingPlan& plan, const Manifest& manifest, std::uint64_t seed);

/// Does each worker have a state of its own, which goes into a checkpoint of its own?
[[nodiscard]] bool has_own_states(const TrainingPlan& plan) noexcept;

/// How often all workers have added up what they had after so many rounds.
[[nodiscard]] std::uint64_t exchanges_after(const TrainingPlan& plan, std::uint64_t rounds,
                                            std::uint64_t rounds_per_epoch) noexcept;
/// For people: "ADMM, rho 3e-4, 4 passes an epoch".
[[nodiscard]] std::string algorithm_text(const AlgorithmPlan& plan);

/// All zero, but a least-squares bias, which starts at the mean of the labels.
[[nodiscard]] Tables initial_parameters(const ModelSpec& model, double label_mean);

}  // namespace virga
