#include "virga/training/epoch_control.h"

#include <algorithm>
#include <utility>

#include "virga/base/error.h"

namespace virga {

EpochControl::EpochControl(Options options, Hook hook)
    : options_(std::move(options)), hook_(std::move(hook)), epochs_met_(options_.ranks) {
  check(options_.ranks > 0 && options_.rounds_per_epoch > 0, "an epoch has a round and a rank that runs it");
}

bool EpochControl::may_run(unsigned rank, Round round) {
  if (rank == 0) request_stop_if_due(round);
  // Ranks other than 0 see stop_round_ in time: they could only reach it after the exchange of the round before which
  // rank 0 had set it.
  for (auto meeting = next_meeting(rank); meeting <= round; meeting = next_meeting(rank)) {
    if (!meet(meeting)) return false;
    ++epochs_met_[rank];
  }
  const std::lock_guard lock(mutex_);
  if (error_) std::rethrow_exception(error_);
  return !reason_.has_value();
}

/// The round before which `rank` meets the others next.
Round EpochControl::next_meeting(unsigned rank) const {
  const auto epoch_end = (epochs_met_[rank] + 1) * options_.rounds_per_epoch;
  return std::min(epoch_end, stop_round_.load(std::memory_order_acquire));
}

void EpochControl::request_stop_if_due(Round round) {
  if (stop_round_.load(std::memory_order_relaxed) != ~Round{0}) return;
  const bool late = options_.deadline && std::chrono::steady_clock::now() >= *options_.deadline;
  if (!late && !options_.stop.stop_requested()) return;
  stop_reason_.store(options_.stop.stop_requested() ? EndReason::kStopped : EndReason::kSeconds,
                     std::memory_order_relaxed);
  stop_round_.store(round + (options_.by_turns ? options_.ranks : 1), std::memory_order_release);
}

std::optional<EndReason> EpochControl::due(Round round) const {
  if (round >= stop_round_.load(std::memory_order_acquire)) return stop_reason_.load(std::memory_order_relaxed);
  if (round >= options_.rounds_per_epoch * options_.epochs) return EndReason::kEpochs;
  return std::nullopt;
}

/// Do they go on from there?
bool EpochControl::meet(Round round) {
  std::unique_lock lock(mutex_);
  if (error_) std::rethrow_exception(error_);
  if (++waiting_ < options_.ranks) {
    const auto meeting = meetings_;
    met_.wait(lock, [&] { return meetings_ != meeting || error_; });
  } else {
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
  if (error_) std::rethrow_exception(error_);
  return !reason_.has_value();
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
