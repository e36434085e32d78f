#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <vector>

#include "virga/base/view.h"

namespace virga {

/// Finds who lives but does nothing: stopped, stuck, cut off. When a worker has run out of patience, somebody did not
/// do his part; the others all end their waits, take their place in the next view and say so. Who does not within a
/// time is lost.
///
/// A state machine without a clock of its own.
class SilenceWatch {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// `grace`: in which a worker ends its part of a round, hears of a view and reads its checkpoint.
  explicit SilenceWatch(std::chrono::nanoseconds grace) : grace_(grace) {}

  /// Somebody ran out of patience: `members` are doubted from now on, until each takes its place in `view` or a later
  /// one.
  void doubt(const std::vector<Member>& members, std::uint32_t view, Time now);
  /// Of whom signs of life are wanted.
  [[nodiscard]] std::vector<Member> doubted() const;
  /// A sign of life, in `view`.
  void seen(const Member& member, std::uint32_t view);
  /// Its invocation is over.
  void ended(const Member& member);
  /// Who is lost: to be killed and replaced. Each is named once.
  [[nodiscard]] std::vector<Member> lost(Time now);

 private:
  struct Doubt {
    Generation generation = 0;
    std::uint32_t view = 0;
    Time since;
  };
  const std::chrono::nanoseconds grace_;
  std::map<WorkerId, Doubt> doubts_;
};

}  // namespace virga
