#include "virga/driver/single_engine.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <future>
#include <limits>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "virga/base/threads.h"
#include "virga/data/loader.h"
#include "virga/exchange/em_threads.h"
#include "virga/exchange/memory_exchange.h"
#include "virga/exchange/relay_exchange.h"
#include "virga/training/defaults.h"
#include "virga/training/make_exchange.h"
#include "virga/training/split_loss.h"
#include "virga/training/worker.h"

namespace virga {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kReportInterval = std::chrono::milliseconds(100);

/// Threads that take the rounds of a lone rank by turns: while one computes, the other prepares its own next round.
/// Not tried with more.
constexpr unsigned kRunners = 2;

/// How long the best model may exist in memory alone.
constexpr auto kCheckpointInterval = std::chrono::seconds(10);

class EndsPreparing {
 public:
  explicit EndsPreparing(std::atomic<bool>& preparing) : preparing_(preparing) {}
  ~EndsPreparing() { preparing_ = false; }
  EndsPreparing(const EndsPreparing&) = delete;
  EndsPreparing& operator=(const EndsPreparing&) = delete;

 private:
  std::atomic<bool>& preparing_;
};

class Training {
 public:
  Training(const TrainingRun& run, GroupCache& train, GroupCache* validation, SplitName validation_split,
           const Kernels& kernels, TrainingObserver& observer, const std::stop_token& stop)
      : run_(run),
        plan_(run.plan),
        train_(train),
        validation_(validation),
        validation_split_(validation_split),
        kernels_(kernels),
        observer_(observer),
        stop_(stop),
        by_turns_(goes_by_turns(run.plan)),
        threads_(by_turns_ ? kRunners : run.plan.workers),
        schedule_(make_schedule(run.plan, train.manifest(), run.seed)) {}

  TrainingResult run();

 private:
  class RoundReporter;
  class BestModelCheckpoint;

  [[nodiscard]] static bool goes_by_turns(const TrainingPlan& plan);
  /// Does each thread that trains have another that makes its mini-batches?
  [[nodiscard]] bool a_core_prepares() const noexcept { return !by_turns_ && plan_.workers < plan_.threads; }
  [[nodiscard]] Round first_round(unsigned thread) const noexcept { return by_turns_ ? thread : 0; }
  [[nodiscard]] double rate_of(std::uint32_t epoch) const;
  [[nodiscard]] Tables start_parameters() const;
  [[nodiscard]] std::unique_ptr<SharedExchange> make_shared_exchange();
  void open_sources();
  void prepare();
  void run_thread(unsigned thread);
  std::optional<EndReason> between_epochs(Round completed, std::optional<EndReason> end);
  EpochReport evaluate(Round completed, bool last);
  [[nodiscard]] std::optional<EndReason> decide(const EpochReport& report);
  void completed_round(Round round);

  const TrainingRun& run_;
  const TrainingPlan& plan_;
  GroupCache& train_;
  GroupCache* validation_;
  const SplitName validation_split_;
  const Kernels& kernels_;
  TrainingObserver& observer_;
  const std::stop_token& stop_;
  const bool by_turns_;     // the threads take the rounds of one rank by turns; else each is a rank
  const unsigned threads_;  // that train
  const Schedule schedule_;

  double learning_rate_ = 0;
  std::vector<std::unique_ptr<BatchSource>> sources_;  // [threads]
  std::unique_ptr<SharedExchange> exchange_;
  std::atomic<bool> preparing_ = true;
  std::vector<std::once_flag> first_batch_{threads_};  // [threads]
  std::unique_ptr<EpochControl> control_;
  Clock::time_point started_;

  // Of the epoch so far; by rank 0 or whose turn it is, read between epochs.
  double loss_ = 0;
  double weight_ = 0;
  std::uint64_t examples_ = 0;
  Clock::time_point reported_;
  std::mutex observing_;  // where threads that take turns both tell observer_ something

  Tables current_;                   // where the last evaluation found them, or older ones
  std::vector<ScoredGroup> scored_;  // by the last evaluation, if that was the end
  TrainingResult result_;
  double best_loss_ = std::numeric_limits<double>::infinity();
  std::uint32_t since_best_ = 0;
  bool unkept_best_ = false;  // by the rank that evaluates while all wait, then by rank 0
};

/// Rank 0 reports for all: the totals of a round are the same for every rank. Threads that go by turns tell the
/// exchange whom to report to.
class Training::RoundReporter final : public Reporter {
 public:
  RoundReporter(Training& training, unsigned rank) : training_(training), rank_(rank) {}
  void round(Round round) override {
    if (rank_ == 0 && !training_.by_turns_) training_.completed_round(round);
  }

 private:
  Training& training_;
  const unsigned rank_;
};

/// Rank 0 sees to it that the best model so far outlives the process, but not at every evaluation of a quick run.
class Training::BestModelCheckpoint final : public Checkpoint {
 public:
  BestModelCheckpoint(Training& training, unsigned rank) : training_(training), rank_(rank) {}
  void if_due(Round) override {
    if (rank_ != 0 || !training_.unkept_best_ || Clock::now() - kept_ < kCheckpointInterval) return;
    {
      const std::lock_guard lock(training_.observing_);
      training_.observer_.keep(training_.result_);
    }
    training_.unkept_best_ = false;
    kept_ = Clock::now();
  }

 private:
  Training& training_;
  const unsigned rank_;
  Clock::time_point kept_ = Clock::now();
};

/// A lone rank on sparse rows, whose mini-batches take as long to prepare as to compute on.
bool Training::goes_by_turns(const TrainingPlan& plan) {
  return plan.workers == 1 && plan.threads >= kRunners && !plan.model.dense &&
         plan.algorithm.kind == AlgorithmKind::kGradientAveraging;
}

double Training::rate_of(std::uint32_t epoch) const {
  return learning_rate_ * schedule_factor(plan_.schedule, epoch, plan_.epochs) * plan_.label_scale;
}

TrainingResult Training::run() {
  learning_rate_ = find_learning_rate(run_, train_, kernels_, observer_, stop_);
  result_.learning_rate = learning_rate_;
  open_sources();
  std::future<void> preparing;  // its end is waited for
  if (!a_core_prepares() && plan_.threads > 1) preparing = std::async(std::launch::async, [this] { prepare(); });
  {
    const EndsPreparing ends(preparing_);
    exchange_ = make_shared_exchange();
  }
  started_ = reported_ = Clock::now();
  EpochControl::Options options{.ranks = threads_,
                                .by_turns = by_turns_,
                                .rounds_per_epoch = schedule_.rounds_per_epoch(),
                                .epochs = plan_.epochs,
                                .stop = stop_};
  if (run_.time_limit) options.deadline = started_ + *run_.time_limit;
  control_ = std::make_unique<EpochControl>(
      options, [this](Round completed, std::optional<EndReason> end) { return between_epochs(completed, end); });
  run_threads(threads_, [this](unsigned thread) { run_thread(thread); });
  result_.reason = control_->reason();
  return std::move(result_);
}

Tables Training::start_parameters() const {
  if (run_.start) return *run_.start;
  return initial_parameters(plan_.model, plan_.label_mean);
}

std::unique_ptr<SharedExchange> Training::make_shared_exchange() {
  current_ = start_parameters();  // which the first evaluation overwrites
  if (plan_.algorithm.kind == AlgorithmKind::kExpectationMaximisation) {
    return std::make_unique<EmThreads>(plan_.workers, current_, em_options(plan_), schedule_.rounds_per_epoch());
  }
  auto rule = plan_.rule;
  rule.learning_rate = rate_of(0);
  if (by_turns_) {
    return std::make_unique<RelayExchange>(
        current_, rule,
        RelayExchange::Options{
            .runners = threads_, .threads = plan_.threads, .completed = [this](Round r) { completed_round(r); }});
  }
  return std::make_unique<MemoryExchange>(plan_.workers, current_, rule, 0, plan_.threads);
}

void Training::open_sources() {
  for (unsigned thread = 0; thread < threads_; ++thread) {
    BatchSource::Options options{.rank = by_turns_ ? 0 : thread, .world_size = plan_.workers};
    if (!a_core_prepares()) options.prefetch = 0;
    sources_.push_back(std::make_unique<BatchSource>(train_, schedule_, options));
    sources_.back()->prepare_from(0);
  }
}

/// Makes the first mini-batches of threads that have not begun yet, as long as the exchange is still being made.
void Training::prepare() {
  for (unsigned thread = 0; thread < threads_ && preparing_; ++thread) {
    std::call_once(first_batch_[thread], [&] { sources_[thread]->prepare_first(first_round(thread)); });
  }
}

void Training::run_thread(unsigned thread) {
  try {
    std::call_once(first_batch_[thread], [] {});    // made before, by prepare(), or left to this thread
    const auto data = std::move(sources_[thread]);  // ends with its thread
    const auto algorithm = make_algorithm(plan_, kernels_);
    RankControl control(*control_, thread);
    RoundReporter reporter(*this, thread);
    BestModelCheckpoint checkpoint(*this, thread);
    run_worker(first_round(thread), *data, exchange_->rank(thread), *algorithm, control, reporter, checkpoint,
               by_turns_ ? threads_ : 1);
  } catch (...) {
    exchange_->abort(std::current_exception());
    control_->abort(std::current_exception());
    throw;
  }
}

void Training::completed_round(Round round) {
  const auto& totals = exchange_->totals();
  loss_ += totals.loss;
  weight_ += totals.weight;
  examples_ += totals.examples;
  const auto now = Clock::now();
  if (now - reported_ < kReportInterval) return;
  reported_ = now;
  const std::lock_guard lock(observing_);
  observer_.progressed({.epoch = schedule_.epoch_of(round),
                        .examples = examples_,
                        .total = schedule_.rows_per_epoch() * plan_.epochs,
                        .train_loss = weight_ > 0 ? loss_ / weight_ : 0});
}

EpochReport Training::evaluate(Round completed, bool last) {
  exchange_->copy_parameters(completed, current_);
  const auto epoch = schedule_.epoch_of(completed - 1);
  EpochReport report{.epoch = epoch + 1,
                     .round = completed,
                     .examples = examples_,
                     .learning_rate = rate_of(epoch),
                     .train_loss = weight_ > 0 ? loss_ / weight_ : 0};
  scored_.clear();
  if (validation_ != nullptr && last) {
    const ModelView model(plan_.model, current_, train_.manifest().encoding);
    auto scored = score_split(model, *validation_, validation_split_, kernels_, plan_.threads);
    report.validation_loss = scored.loss;
    scored_ = std::move(scored.groups);
  } else if (validation_ != nullptr) {
    report.validation_loss =
        split_loss(*validation_, validation_split_, plan_.model, current_, kernels_, plan_.threads);
  }
  report.elapsed = Clock::now() - started_;
  return report;
}

std::optional<EndReason> Training::decide(const EpochReport& report) {
  const double loss = report.validation_loss.value_or(report.train_loss);
  if (report.best) {
    since_best_ = 0;
  } else if (report.epoch > plan_.patience_after) {
    ++since_best_;
  }
  if (run_.target_loss && loss <= *run_.target_loss) return EndReason::kTargetLoss;
  if (run_.patience > 0 && validation_ != nullptr && since_best_ >= run_.patience) return EndReason::kPatience;
  if (exchange_->converged()) return EndReason::kConverged;
  return std::nullopt;
}

std::optional<EndReason> Training::between_epochs(Round completed, std::optional<EndReason> end) {
  const bool last = end && end != EndReason::kStopped && run_.evaluates_on_validation;
  auto report = evaluate(completed, last);
  check_hope(report, plan_, learning_rate_);
  // Without validation rows there is nothing to choose by: the last parameters are the model.
  report.best = !report.validation_loss || *report.validation_loss < best_loss_;
  if (report.best) {
    best_loss_ = report.validation_loss.value_or(best_loss_);
    std::swap(result_.parameters, current_);
    std::swap(result_.scored, scored_);
    result_.best = report;
  }
  result_.last = report;
  result_.elapsed = report.elapsed;
  unkept_best_ = unkept_best_ || report.best;
  observer_.evaluated(report);

  const auto decision = decide(report);
  if (decision || end) return decision ? decision : end;
  const auto epoch = report.epoch - 1;
  loss_ = weight_ = 0;
  if (plan_.forget) exchange_->scale_accumulators(default_adagrad_decay(epoch));
  exchange_->set_learning_rate(rate_of(epoch + 1));
  return std::nullopt;
}

}  // namespace

TrainingResult train_on_threads(const TrainingRun& run, GroupCache& train, GroupCache* validation,
                                SplitName validation_split, const Kernels& kernels, TrainingObserver& observer,
                                const std::stop_token& stop) {
  return Training(run, train, validation, validation_split, kernels, observer, stop).run();
}

}  // namespace virga
