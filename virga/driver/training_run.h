#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <vector>

#include "virga/batch/table.h"
#include "virga/collective/pattern_choice.h"
#include "virga/data/group_cache.h"
#include "virga/exchange/staleness.h"
#include "virga/math/kernels.h"
#include "virga/training/epoch_control.h"
#include "virga/training/evaluate.h"
#include "virga/training/initial_centres.h"
#include "virga/training/learning_rate_search.h"
#include "virga/training/plan.h"

namespace virga {

// What all engines take and give.

/// How far an epoch has come.
struct TrainingProgress {
  std::uint32_t epoch = 0;     ///< from 0
  std::uint64_t examples = 0;  ///< training rows seen since the start
  std::uint64_t total = 0;     ///< if all epochs are run
  double train_loss = 0;       ///< mean of the epoch so far, each row at the moment of its round
};

/// One evaluation, between epochs or where a run was stopped.
struct EpochReport {
  std::uint32_t epoch = 0;  ///< epochs completed (a stopped one counts)
  Round round = 0;          ///< rounds completed
  std::uint64_t examples = 0;
  double learning_rate = 0;
  double train_loss = 0;
  std::optional<double> validation_loss;
  std::chrono::nanoseconds elapsed{};  ///< since the first round
  bool best = false;                   ///< the best so far: its parameters are kept
  UpdateCounts updates = {};           ///< ASP: of this epoch
};

struct TrainingResult {
  Tables parameters;  ///< of the best evaluation
  EpochReport best;
  EpochReport last;
  double learning_rate = 0;
  EndReason reason = EndReason::kEpochs;
  std::vector<ScoredGroup> scored;     ///< the validation rows with the scores of `parameters`, if they are at hand
  std::chrono::nanoseconds elapsed{};  ///< from the start of the first round to the last evaluation
};

/// How the functions of a run are, and what they took so far.
struct FunctionsStatus {
  std::uint32_t alive = 0;        ///< workers under way
  std::uint32_t workers = 0;      ///< that there should be
  std::uint64_t invocations = 0;  ///< evaluations included
  std::uint64_t restarts = 0;     ///< workers that were started again because they died
  double usd = 0;                 ///< what it would have cost so far, earlier drivers included
  std::optional<double> usd_limit = {};
};

/// Learns how a run goes. Its members are called by one thread at a time, not always the same; they should return soon.
class TrainingObserver {
 public:
  TrainingObserver() = default;
  TrainingObserver(const TrainingObserver&) = delete;
  TrainingObserver& operator=(const TrainingObserver&) = delete;
  virtual ~TrainingObserver() = default;

  virtual void rate_found(double learning_rate, const std::vector<RateTrial>& trials) = 0;
  /// Of a run on functions whose job leaves the pattern to a probe.
  virtual void pattern_chosen(const PatternChoice&) {}
  virtual void progressed(const TrainingProgress& progress) = 0;
  virtual void evaluated(const EpochReport& report) = 0;
  /// Of a run on functions, now and then.
  virtual void functions_changed(const FunctionsStatus&) {}
  /// The best parameters so far should be made to outlive this process; now and then in long runs.
  virtual void keep(const TrainingResult& so_far) = 0;
};

struct TrainingRun {
  TrainingPlan plan;
  std::uint64_t seed = 1;
  std::optional<double> target_loss;
  std::uint32_t patience = 0;  ///< epochs without improvement; 0: never
  std::optional<std::chrono::nanoseconds> time_limit;
  std::optional<Tables> start;  ///< parameters to start from
  /// Whoever runs it will evaluate the model on the validation rows in the end.
  bool evaluates_on_validation = false;
};

/// The plan's learning rate, or the best of a search on a sample, of which the observer learns.
[[nodiscard]] double find_learning_rate(const TrainingRun& run, GroupCache& train, const Kernels& kernels,
                                        TrainingObserver& observer, const std::stop_token& stop);

/// Chooses the first parameters of a plan of clusters, unless the run has parameters to start from, and tells the plan
/// its constant loss; does nothing for other models. Throws what first_centres() throws.
void find_first_centres(TrainingRun& run, Seeding seeding, GroupCache& train, const std::stop_token& stop);

/// Throws Error(kDiverged), saying what to try, if a loss is not finite or far above that of a constant prediction.
void check_hope(const EpochReport& report, const TrainingPlan& plan, double learning_rate);

}  // namespace virga
