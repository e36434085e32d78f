#pragma once

#include <chrono>
#include <string>

#include "virga/base/deadline.h"

namespace virga {

/// Sleeps for `time`, or until `wait` is over, whichever comes first.
void pause(std::chrono::nanoseconds time, const Wait& wait);

/// Throws Error(kInterrupted), naming where, if somebody has asked for `stop`.
void throw_if_stopped(const std::string& uri, const Wait& wait);

/// The pauses between looks at a store that cannot call: 50 us at first, each a quarter longer than the one before, at
/// most 5 ms. So what comes after a wait of t is seen by t + max(t / 4, 50 us), and a long wait costs 200 looks a
/// second.
class Polling {
 public:
  explicit Polling(const Wait& wait) : wait_(wait) {}
  /// Sleeps until it is time to look again. False, at once, if the wait is over.
  [[nodiscard]] bool pause();
  /// Something came, so more is likely to come soon.
  void restart() { next_ = kFirst; }

 private:
  static constexpr std::chrono::nanoseconds kFirst = std::chrono::microseconds(50);
  static constexpr std::chrono::nanoseconds kLongest = std::chrono::milliseconds(5);
  const Wait& wait_;
  std::chrono::nanoseconds next_ = kFirst;
};

}  // namespace virga
