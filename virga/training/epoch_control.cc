#include "virga/training/epoch_control.h"

#include <utility>

#include "virga/base/error.h"

namespace virga {

EpochControl::EpochControl(Options options, Hook hook) : options_(std::move(options)), hook_(std::move(hook)) {
  check(options_.ranks > 0 && options_.rounds_per_epoch > 0, "an epoch has a round and a rank that runs it");
}

bool EpochControl::may_run(unsigned rank, Round round) {
  if (rank == 0) request_stop_if_due(round);
  const bool epoch_ends = round > 0 && round % options_.rounds_per_epoch == 0;
  // Ranks other than 0 see stop_round_ in time: they could only reach `round` after the exchange of the round before,
  // which rank 0 wrote to after it had set stop_round_.
  if (epoch_ends || round >= stop_round_.load(std::memory_order_acquire)) meet(round);
  const std::lock_guard lock(mutex_);
  if (error_) std::rethrow_exception(error_);
  return !reason_.has_value();
}

void EpochControl::request_stop_if_due(Round round) {
  if (stop_round_.load(std::memory_order_relaxed) != ~Round{0}) return;
  const bool late = options_.deadline && std::chrono::steady_clock::now() >= *options_.deadline;
  if (!late && !options_.stop.stop_requested()) return;
  stop_reason_.store(options_.stop.stop_requested() ? EndReason::kStopped : EndReason::kSeconds,
                     std::memory_order_relaxed);
  stop_round_.store(round + 1, std::memory_order_release);
}

std::optional<EndReason> EpochControl::due(Round round) const {
  if (round >= stop_round_.load(std::memory_order_acquire)) return stop_reason_.load(std::memory_order_relaxed);
  if (round >= options_.rounds_per_epoch * options_.epochs) return EndReason::kEpochs;
  return std::nullopt;
}

void EpochControl::meet(Round round) {
  std::unique_lock lock(mutex_);
  if (error_) return;
  if (++waiting_ < options_.ranks) {
    const auto meeting = meetings_;
    met_.wait(lock, [&] { return meetings_ != meeting || error_; });
    return;
  }
  try {
    const auto end = due(round);
    const auto wanted = hook_(round, end);
    reason_ = wanted ? wanted : end;
  } catch (...) {
    error_ = std::current_exception();
  }
  waiting_ = 0;
  ++meetings_;
  met_.notify_all();
}

void EpochControl::abort(std::exception_ptr error) {
  const std::lock_guard lock(mutex_);
  if (!error_) error_ = std::move(error);
  met_.notify_all();
}

EndReason EpochControl::reason() const {
  const std::lock_guard lock(mutex_);
  check(reason_.has_value(), "a run that has not ended has no reason to end");
  return *reason_;
}

}  // namespace virga
