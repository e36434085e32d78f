#pragma once

#include <algorithm>
#include <chrono>
#include <stop_token>

namespace virga {

/// A moment on the monotonic clock at which a wait ends. There is no deadline that never comes.
class Deadline {
 public:
  using Clock = std::chrono::steady_clock;

  explicit constexpr Deadline(Clock::time_point at) noexcept : at_(at) {}
  [[nodiscard]] static Deadline in(std::chrono::nanoseconds time) noexcept { return Deadline(Clock::now() + time); }

  [[nodiscard]] Clock::time_point at() const noexcept { return at_; }
  [[nodiscard]] bool passed() const noexcept { return Clock::now() >= at_; }
  /// Never negative.
  [[nodiscard]] std::chrono::nanoseconds remaining() const noexcept {
    return std::max(std::chrono::nanoseconds(0), std::chrono::nanoseconds(at_ - Clock::now()));
  }
  auto operator<=>(const Deadline&) const = default;

 private:
  Clock::time_point at_;
};

/// How long a call may wait: until `deadline` (then it throws Error(kDeadlineExceeded)), or until somebody asks for
/// `stop` (kInterrupted), because what is waited for is no longer wanted.
struct Wait {
  Deadline deadline;
  std::stop_token stop = {};
};

}  // namespace virga
