#pragma once

#include <atomic>
#include <cstdint>

#include "virga/control/control.h"

namespace virga {

/// The last round for which a thread has done a certain thing, as others wait for it. What the thread wrote before
/// set(), they see afterwards.
class RoundMark {
 public:
  explicit RoundMark(int spins) : spins_(spins) {}

  /// For one thread, with rounds that ascend.
  void set(Round round);
  [[nodiscard]] bool reached(Round round) const noexcept;
  /// Waits, for a moment awake and then asleep. False if abort() came first.
  [[nodiscard]] bool wait(Round round) const;
  /// Ends all waits for what is not done yet, now and later. Any thread may call it.
  void abort();

 private:
  const int spins_;
  std::atomic<std::uint64_t> state_{0};  // twice the number of the round after the last one, + 1 when aborted
};

}  // namespace virga
