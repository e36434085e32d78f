#pragma once

#include <chrono>
#include <string>

#include "virga/base/deadline.h"

namespace virga {

/// Sleeps for `time`, or until `wait` is over, whichever comes first.
void pause(std::chrono::nanoseconds time, const Wait& wait);

/// Throws Error(kInterrupted), naming where, if somebody has asked for `stop`.
void throw_if_stopped(const std::string& uri, const Wait& wait);

/// How long the pauses between looks at a store are that cannot call: `first` at first, each a quarter longer than the
/// one before, at most `longest`. So what comes after a wait of t is seen by t + max(t / 4, first), and a long wait
/// costs a look in each `longest`: 200 a second.
struct Pace {
  std::chrono::nanoseconds first = std::chrono::microseconds(50);
  std::chrono::nanoseconds longest = std::chrono::milliseconds(5);
};

/// The pauses of one wait.
class Polling {
 public:
  explicit Polling(const Wait& wait, const Pace& pace = {}) : wait_(wait), pace_(pace), next_(pace.first) {}
  /// Sleeps until it is time to look again. False, at once, if the wait is over.
  [[nodiscard]] bool pause();
  /// Something came, so more is likely to come soon.
  void restart() { next_ = pace_.first; }

 private:
  const Wait& wait_;
  const Pace pace_;
  std::chrono::nanoseconds next_;
};

}  // namespace virga
