#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <vector>

#include "virga/control/control.h"

namespace virga {

/// Why a run ended.
enum class EndReason : std::uint8_t { kEpochs, kTargetLoss, kPatience, kConverged, kSeconds, kBudget, kStopped };
/// Is there something left to do for whoever resumes it?
[[nodiscard]] constexpr bool leaves_work(EndReason reason) noexcept { return reason >= EndReason::kSeconds; }

/// Control for ranks that are threads of one process: lets them run epoch after epoch; between epochs all ranks wait
/// while one of them runs the hook (validation, learning rate, ...), which decides whether to go on. Ranks may also be
/// threads that take the rounds of one rank by turns.
///
/// A request to stop (stop token, time limit) is noticed by rank 0 before round r and takes effect for all ranks at
/// its next round, where the hook runs once more; so all end after the same round.
class EpochControl {
 public:
  struct Options {
    unsigned ranks = 1;
    bool by_turns = false;  ///< rank i runs rounds i, i + ranks, ... instead of all
    Round rounds_per_epoch = 1;
    std::uint32_t epochs = 1;
    std::optional<std::chrono::steady_clock::time_point> deadline;
    std::stop_token stop;
  };
  /// Runs on one rank's thread while all others wait. `completed` rounds have been run. `end` is empty at the end of an
  /// epoch after which another is due, else says why the run ends here. Returns why to end now, or nothing to go on.
  using Hook = std::function<std::optional<EndReason>(Round completed, std::optional<EndReason> end)>;

  EpochControl(Options options, Hook hook);

  /// As Control::may_run, for `rank`; several ranks call it at once.
  [[nodiscard]] bool may_run(unsigned rank, Round round);

  /// Ends every rank's wait, now and later, with `error`.
  void abort(std::exception_ptr error);

  /// After all ranks have ended.
  [[nodiscard]] EndReason reason() const;

 private:
  void request_stop_if_due(Round round);
  [[nodiscard]] std::optional<EndReason> due(Round round) const;
  [[nodiscard]] Round next_meeting(unsigned rank) const;
  [[nodiscard]] bool meet(Round round);

  const Options options_;
  const Hook hook_;
  std::vector<Round> epochs_met_;             // [ranks] after how many epochs it has met the others; its own
  std::atomic<Round> stop_round_{~Round{0}};  // written by rank 0 before it runs the round before
  std::atomic<EndReason> stop_reason_{EndReason::kStopped};

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable met_;
  unsigned waiting_ = 0;
  std::uint64_t meetings_ = 0;
  std::optional<EndReason> reason_;
  std::exception_ptr error_;
};

/// The Control of one rank.
class RankControl final : public Control {
 public:
  RankControl(EpochControl& shared, unsigned rank) : shared_(shared), rank_(rank) {}
  [[nodiscard]] bool may_run(Round round) override { return shared_.may_run(rank_, round); }

 private:
  EpochControl& shared_;
  unsigned rank_;
};

}  // namespace virga
