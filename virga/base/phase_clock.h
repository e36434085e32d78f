#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

namespace virga {

/// What a worker's time goes to.
enum class WorkPhase : std::uint8_t {
  kStart,    ///< the job, the manifest, the first parameters or a checkpoint
  kData,     ///< waiting for the next mini-batch
  kRead,     ///< reading the parameters that it needs
  kCompute,  ///< the local step
  kEncode,   ///< writing contributions as messages
  kSend,     ///< putting messages into the channel, where none is waited for in the same request
  kWait,     ///< for messages of others, and receiving them
  kDecode,   ///< reading them
  kSum,      ///< adding contributions up
  kApply,    ///< the update rule
  kKeep,     ///< reports, snapshots and checkpoints
};
constexpr std::size_t kWorkPhases = 11;
[[nodiscard]] std::string_view to_string(WorkPhase phase) noexcept;  ///< "start", ...

/// Time spent in each phase, by the clock on the wall.
class PhaseTimes {
 public:
  using Duration = std::chrono::nanoseconds;
  [[nodiscard]] Duration operator[](WorkPhase phase) const noexcept { return times_[static_cast<std::size_t>(phase)]; }
  void add(WorkPhase phase, Duration time) noexcept { times_[static_cast<std::size_t>(phase)] += time; }
  PhaseTimes& operator+=(const PhaseTimes& other) noexcept {
    for (std::size_t i = 0; i < kWorkPhases; ++i) times_[i] += other.times_[i];
    return *this;
  }
  bool operator==(const PhaseTimes&) const = default;

 private:
  std::array<Duration, kWorkPhases> times_{};
};

/// Gives each stretch of one thread's time to a phase.
class PhaseClock {
 public:
  /// The time since the last lap, or since construction, was spent in `phase`.
  void lap(WorkPhase phase) noexcept {
    const auto now = Clock::now();
    times_.add(phase, now - last_);
    last_ = now;
    auto& first = first_[static_cast<std::size_t>(phase)];
    if (first == Clock::time_point()) first = now;
  }
  /// From construction to the end of the first lap in `phase`; none yet.
  [[nodiscard]] std::optional<PhaseTimes::Duration> first(WorkPhase phase) const noexcept {
    const auto end = first_[static_cast<std::size_t>(phase)];
    if (end == Clock::time_point()) return std::nullopt;
    return end - begin_;
  }
  [[nodiscard]] const PhaseTimes& times() const noexcept { return times_; }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point begin_ = Clock::now();
  Clock::time_point last_ = begin_;
  std::array<Clock::time_point, kWorkPhases> first_{};
  PhaseTimes times_;
};

}  // namespace virga
