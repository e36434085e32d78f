#include "virga/training/function_worker.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include <fmt/format.h>

#include "virga/base/crash_point.h"
#include "virga/base/error.h"
#include "virga/channel/direct_channel.h"
#include "virga/collective/collectives.h"
#include "virga/control/run_folder.h"
#include "virga/data/group_cache.h"
#include "virga/data/loader.h"
#include "virga/data/manifest.h"
#include "virga/exchange/replica_exchange.h"
#include "virga/optimizer/schedule.h"
#include "virga/training/algorithm.h"
#include "virga/training/defaults.h"
#include "virga/training/function_memory.h"
#include "virga/training/make_exchange.h"
#include "virga/training/state_file.h"
#include "virga/training/worker.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using Clock = Deadline::Clock;

constexpr auto kRequestTime = 30s;  // for one request to the run's URI
constexpr Phase kBarrierPhase = 2;  // AllReduce has 0 and 1

Wait request_time() { return {Deadline::in(kRequestTime)}; }

/// Looks out for news on a thread of its own: a newer view ends the view; a control record and the silence of the
/// driver are noted.
class Lookout {
 public:
  Lookout(Register& registers, std::chrono::milliseconds interval, std::chrono::milliseconds orphan_timeout)
      : registers_(registers),
        interval_(interval),
        orphan_timeout_(orphan_timeout),
        thread_([this](const std::stop_token& stop) { run(stop); }) {}

  /// The newest view above `known`; none when the driver is silent for too long.
  std::optional<ViewRecord> wait_for_view(std::uint32_t known) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return orphaned_ || error_ || (newest_ && newest_->view.number > known); });
    if (error_) std::rethrow_exception(error_);
    if (!newest_ || newest_->view.number <= known) return std::nullopt;
    over_ = std::stop_source();
    watched_ = newest_->view.number;
    return newest_;
  }
  /// Ends the waits of the view that wait_for_view() gave last, once it is over.
  std::stop_token over() {
    const std::lock_guard lock(mutex_);
    return over_.get_token();
  }
  [[nodiscard]] std::uint64_t control() const noexcept { return control_; }
  /// Is there a view above `known`? Asks, and so knows it even before the thread does.
  [[nodiscard]] bool is_over(std::uint32_t known) const {
    const auto value = registers_.read(kViewRegister, request_time());
    return value && decode_view(as_text(value->bytes.view())).view.number > known;
  }
  /// Has the driver been silent for too long?
  [[nodiscard]] bool orphaned() const noexcept { return orphaned_; }

 private:
  void run(const std::stop_token& stop) {
    try {
      look(stop);
    } catch (const Error& error) {
      if (stop.stop_requested()) return;
      const std::lock_guard lock(mutex_);
      error_ = std::current_exception();
      over_.request_stop();
      changed_.notify_all();
    }
  }

  void look(const std::stop_token& stop) {
    std::uint64_t version = 0;
    std::uint64_t heartbeat = 0;
    auto heard = Clock::now();
    while (!stop.stop_requested()) {
      // Before the first view: who lives for one round is to know in it that it is the last.
      if (const auto control = registers_.read(kControlRegister, request_time())) control_ = control->version;
      try {
        const auto value = registers_.wait_newer(kViewRegister, version, {Deadline::in(interval_), stop});
        version = value.version;
        auto record = decode_view(as_text(value.bytes.view()));
        const std::lock_guard lock(mutex_);
        newest_ = std::move(record);
        if (newest_->view.number > watched_) over_.request_stop();
        changed_.notify_all();
      } catch (const Error& error) {
        if (error.kind() == ErrorKind::kInterrupted) return;
        if (error.kind() != ErrorKind::kDeadlineExceeded) throw;
      }
      const auto driver = registers_.read(kDriverRegister, request_time());
      if (driver && driver->version != heartbeat) {
        heartbeat = driver->version;
        heard = Clock::now();
      }
      if (Clock::now() - heard > orphan_timeout_) {
        const std::lock_guard lock(mutex_);
        orphaned_ = true;
        changed_.notify_all();
      }
    }
  }

  Register& registers_;
  const std::chrono::milliseconds interval_;  // for news, where waits cannot be pushed
  const std::chrono::milliseconds orphan_timeout_;
  std::atomic<std::uint64_t> control_ = 0;
  std::atomic<bool> orphaned_ = false;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::optional<ViewRecord> newest_;
  std::uint32_t watched_ = 0;
  std::stop_source over_;
  std::exception_ptr error_;
  std::jthread thread_;  // last: ends before what it uses
};

/// A worker's own register: each generation claims it once, so that an invocation that was started twice works once,
/// and leaves signs of life there until the next one claims it.
class Life {
 public:
  explicit Life(const WorkerPlace& place) : place_(place), name_(worker_register(place.me.worker)) {}

  /// False if a twin of this invocation came first, or a later generation is at work.
  [[nodiscard]] bool claim() {
    for (;;) {  // again if the generation before gave a sign of life at the same time
      const auto value = place_.registers.read(name_, request_time());
      if (value && decode_life(as_text(value->bytes.view())).generation >= place_.me.generation) return false;
      version_ = value ? value->version : 0;
      if (sign(0, 0)) return true;
    }
  }
  /// False if a later generation has claimed the register. View 0: it has only been claimed.
  [[nodiscard]] bool sign(std::uint32_t view, Round next) {
    const LifeRecord record{.generation = place_.me.generation, .view = view, .round = next, .time = wall_clock()};
    const auto version =
        place_.registers.compare_exchange(name_, version_, as_bytes(encode_life(record)), request_time());
    if (version) version_ = *version;
    return version.has_value();
  }

 private:
  const WorkerPlace& place_;
  const std::string name_;
  std::uint64_t version_ = 0;
};

/// A worker in one view: its part of the loop's control, reporter and checkpoint.
class InView final : public Control, public Reporter, public Checkpoint {
 public:
  InView(const WorkerPlace& place, Life& life, const Schedule& schedule, const Manifest& manifest, Lookout& lookout,
         const ViewRecord& record, Rank rank, WorkerWork& work)
      : place_(place),
        life_(life),
        plan_(place.job.plan),
        schedule_(schedule),
        lookout_(lookout),
        view_(record.view),
        rank_(rank),
        over_(lookout.over()),
        work_(work) {
    auto rule = plan_.rule;
    rule.learning_rate = rate_of(0);
    ReplicaExchange::Options options;
    options.group =
        group_ = {.view = view_.number, .id = 0, .rank = rank, .size = view_.size(), .generation = place.me.generation};
    options.all_reduce.pattern = place.job.pattern;
    options.all_reduce.pieces = place.job.pieces;
    options.patience = place.job.patience;
    options.stop = over_;
    options.clock = options.all_reduce.clock = &place.clock;
    std::optional<WorkerCheckpoint> from;
    if (record.start_round > 0) {
      const bool own = has_own_states(plan_) && rank > 0;
      from = decode_checkpoint(
          place.run.get(own ? own_state_object(record.start_round, rank) : checkpoint_object(record.start_round)));
      rule.learning_rate = from->learning_rate;
    }
    exchange_ = make_exchange(plan_, manifest, schedule.rounds_per_epoch(), place.channel, place.models, options,
                              from ? Tables(layout_of(plan_.model)) : start_parameters(), rule,
                              from ? from->position : Position());
    if (!from) return;
    exchange_->load({std::move(from->rule), std::move(from->own)});
    sums_ = from->sums;
  }

  ~InView() override {
    work_.traffic += exchange_->traffic();
    work_.staleness += exchange_->staleness();
  }
  InView(const InView&) = delete;
  InView& operator=(const InView&) = delete;

  WorkerEnd run(BatchSource& data, Algorithm& algorithm) {
    place_.clock.lap(WorkPhase::kStart);
    give_sign_of_life();
    try {
      run_worker(exchange_->position().round, data, *exchange_, algorithm, *this, *this, *this);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kDeadlineExceeded || over_.stop_requested()) throw;
      throw Error(error.kind(), error.what() + who_is_missing(), error.remedy());
    }
    return end_;
  }

  bool may_run(Round round) override {
    if (over_.stop_requested()) throw Error(ErrorKind::kInterrupted, "the view is over");
    const auto total = schedule_.rounds_per_epoch() * plan_.epochs;
    if (round >= total) return false;
    if (exchange_->synchronised()) {
      if (exchange_->converged()) return false;
      if (exchange_->decree() == kLeave) {
        save();
        end_ = lookout_.orphaned() ? WorkerEnd::kOrphaned : WorkerEnd::kContinue;
        return false;
      }
      if (exchange_->decree() > 0) {  // every control record is one to stop
        save();
        const auto agreed = exchange_->position().round;
        if (schedule_.step_of(agreed) > 0) publish(std::string(kStoppedObject), schedule_.epoch_of(agreed) + 1, true);
        return false;
      }
      period_began_ = Clock::now();
      if (place_.requests_spent) spent_before_ = place_.requests_spent();
    }
    place_.clock.lap(WorkPhase::kKeep);
    exchange_->set_decree(decree());
    return true;
  }

  void round(Round round) override {
    crash_point("round_done");
    ++work_.rounds;
    const auto now = Clock::now();
    if (exchange_->synchronised()) {
      const auto& totals = exchange_->totals();
      sums_.loss += totals.loss;
      sums_.weight += totals.weight;
      sums_.examples += totals.examples;
      const auto updates = exchange_->updates();
      sums_.updates += updates.written;
      sums_.lost_updates += updates.lost;
      longest_period_ = std::max(longest_period_, now - period_began_);
      if (place_.requests_spent) dearest_period_ = std::max(dearest_period_, place_.requests_spent() - spent_before_);
    }
    if (now - reported_ >= place_.tempo.report) {
      reported_ = now;
      crash_point("before_report");
      give_sign_of_life();
      if (rank_ == 0) {
        place_.registers.write(kProgressRegister,
                               as_bytes(encode_progress({.round = round,
                                                         .epoch = schedule_.epoch_of(round),
                                                         .examples = sums_.examples,
                                                         .loss = sums_.loss,
                                                         .weight = sums_.weight})),
                               request_time());
      }
      crash_point("after_report");
    }
    const bool agreed = exchange_->position().round == round + 1;  // else the ranks leave after a round before it
    if (agreed && schedule_.step_of(round + 1) == 0) end_epoch(schedule_.epoch_of(round));
  }

  void if_due(Round) override {
    if (!exchange_->synchronised()) return;
    // Where each rank has a state of its own, all must save it, or none: so all do, each time.
    const bool due =
        exchange_->has_own_state() || (rank_ == 0 && Clock::now() - saved_ >= place_.job.checkpoint_interval);
    if (!due) return;
    save();
    saved_ = Clock::now();
  }

 private:
  /// What this rank wants after the next round. A stop comes before the end of its rounds: whoever came next would be
  /// told the same.
  std::uint64_t decree() const {
    if (time_is_up() || money_is_up() || lookout_.orphaned()) return kLeave;
    if (const auto control = lookout_.control(); control > 0) return control;
    const auto most = place_.job.rounds_per_invocation;
    return most > 0 && work_.rounds + 1 >= most ? kLeave : 0;
  }

  /// Is there too little time left for another period as long as the longest?
  bool time_is_up() const {
    const auto period = std::max(longest_period_, Clock::now() - period_began_);
    return place_.end_of_life.remaining() <= period;
  }

  /// Might another period, as dear as the dearest, cost more than is left for requests?
  bool money_is_up() const { return place_.requests_spent && place_.requests_spent() + 2 * dearest_period_ > 1; }

  void give_sign_of_life() {
    if (life_.sign(view_.number, exchange_->position().round)) return;
    throw Error(ErrorKind::kInterrupted, "the next generation is at work");
  }

  /// Whom this rank has waited for in vain, and their last signs of life.
  std::string who_is_missing() const {
    std::string text;
    for (const auto rank : exchange_->missing()) {
      const auto& member = view_.members.at(rank);
      const auto value = place_.registers.read(worker_register(member.worker), request_time());
      const auto life = value ? std::optional(decode_life(as_text(value->bytes.view()))) : std::nullopt;
      text += fmt::format("{} {}", text.empty() ? "" : ";", life_text(member, life, wall_clock()));
    }
    if (text.empty()) return text;
    const std::chrono::duration<double> patience = place_.job.patience;
    return fmt::format("; waited {} s in round {} for{}", patience.count(), exchange_->position().round, text);
  }

  double rate_of(std::uint32_t epoch) const {
    return *plan_.learning_rate * schedule_factor(plan_.schedule, epoch, plan_.epochs) * plan_.label_scale;
  }

  Tables start_parameters() const {
    if (place_.job.has_start) return decode_snapshot(place_.run.get(kStartObject)).parameters;
    return initial_parameters(plan_.model, plan_.label_mean);
  }

  void end_epoch(std::uint32_t epoch) {
    const bool last = epoch + 1 == plan_.epochs || exchange_->converged();
    // First, because it catches up all rows, which are copied faster then.
    if (!last && plan_.forget) exchange_->scale_accumulators(default_adagrad_decay(epoch));
    publish(snapshot_object(epoch + 1), epoch + 1, last);
    sums_ = {.examples = sums_.examples};
    if (!last) exchange_->set_learning_rate(rate_of(epoch + 1));
  }

  void publish(const std::string& object, std::uint32_t epoch, bool last) {
    if (rank_ != 0) return;
    Snapshot snapshot{.round = exchange_->position().round,
                      .epoch = epoch,
                      .last = last,
                      .learning_rate = exchange_->learning_rate(),
                      .sums = sums_,
                      .parameters = Tables(layout_of(plan_.model))};
    exchange_->copy_parameters(snapshot.parameters);
    crash_point("before_snapshot");
    place_.run.put(object, encode_snapshot(snapshot));
    crash_point("after_snapshot");
  }

  void save() {
    const bool all = exchange_->has_own_state();
    if (rank_ != 0 && !all) return;
    const auto position = exchange_->position();
    auto state = exchange_->save();
    const auto bytes =
        encode_checkpoint({position, exchange_->learning_rate(), sums_, std::move(state.rule), std::move(state.own)});
    crash_point("before_checkpoint");
    if (rank_ != 0) place_.run.put(own_state_object(position.round, rank_), bytes);
    // The checkpoint is there when the states of all ranks are.
    if (all) barrier(place_.channel, group_, position.round, kBarrierPhase, {Deadline::in(place_.job.patience), over_});
    if (rank_ == 0) place_.run.put(checkpoint_object(position.round), bytes);
    crash_point("after_checkpoint");
  }

  const WorkerPlace& place_;
  Life& life_;
  const TrainingPlan& plan_;
  const Schedule& schedule_;
  Lookout& lookout_;
  const View view_;
  const Rank rank_;
  const std::stop_token over_;
  WorkerWork& work_;
  Group group_;
  std::unique_ptr<ReplicaExchange> exchange_;
  EpochSums sums_;
  WorkerEnd end_ = WorkerEnd::kDone;
  Clock::time_point reported_{};
  Clock::time_point period_began_ = Clock::now();
  Clock::duration longest_period_{};
  double spent_before_ = 0;  // the period, as place_.requests_spent tells
  double dearest_period_ = 0;
  Clock::time_point saved_ = Clock::now();
};

}  // namespace

std::string_view to_string(WorkerEnd end) noexcept {
  switch (end) {
    case WorkerEnd::kDone:
      return "done";
    case WorkerEnd::kContinue:
      return "continue";
    case WorkerEnd::kSuperseded:
      return "superseded";
    case WorkerEnd::kOrphaned:
      return "orphaned";
  }
  return "";
}

WorkerWork run_function_worker(const WorkerPlace& place) {
  const auto& job = place.job;
  WorkerWork work;
  Life life(place);
  if (!life.claim()) {
    work.end = WorkerEnd::kSuperseded;
    return work;
  }
  const auto store = open_object_store(job.data);
  const auto manifest = read_manifest(*store);
  if (manifest_checksum(manifest) != job.data_checksum) {
    throw Error(ErrorKind::kBadData, fmt::format("{}: not the data that the job was started on", job.data),
                "start the job anew");
  }
  const auto memory = worker_memory(job.plan, job.pattern, manifest, job.memory_bytes, is_direct_uri(job.channel));
  GroupCache cache(*store, manifest, std::min(memory.cache_bytes, job.cache_bytes));
  const auto schedule = make_schedule(job.plan, manifest, job.seed);
  Lookout lookout(place.registers, place.tempo.look, job.orphan_timeout);
  for (std::uint32_t known = 0;;) {
    const auto record = lookout.wait_for_view(known);
    if (!record) {
      work.end = WorkerEnd::kOrphaned;
      return work;
    }
    known = record->view.number;
    const auto rank = record->view.rank_of(place.me);
    if (!rank) {
      work.end = WorkerEnd::kSuperseded;
      return work;
    }
    work.view = known;
    try {
      BatchSource data(cache, schedule,
                       {.rank = *rank, .world_size = record->view.size(), .prefetch_bytes = memory.prefetch_bytes});
      data.prepare_from(record->start_round);  // while the tables are made, or come with a checkpoint
      InView in_view(place, life, schedule, manifest, lookout, *record, *rank, work);
      const auto algorithm = make_algorithm(job.plan, place.kernels);
      work.end = in_view.run(data, *algorithm);
      return work;
    } catch (const Error& error) {
      // What a view could not do for want of its members is no error once it is over.
      if (error.kind() != ErrorKind::kInterrupted && !lookout.is_over(known)) throw;
    }
  }
}

}  // namespace virga
