#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "virga/function/payload.h"

namespace virga {

/// What a platform says that an invocation took.
struct InvocationBill {
  std::string request_id;
  std::chrono::microseconds duration{};  ///< from the event to the answer
  std::chrono::microseconds init{};      ///< of the process before its first event; zero: it was warm
  std::chrono::milliseconds billed{};
  std::uint64_t memory_bytes = 0;  ///< the limit
  std::uint64_t peak_memory_bytes = 0;
  bool operator==(const InvocationBill&) const = default;
};

/// Invokes functions. For one thread.
class Engine {
 public:
  using Invocation = std::uint64_t;
  struct Ended {
    enum class Cause : std::uint8_t { kAnswered, kCrashed, kTimedOut, kOutOfMemory, kThrottled, kUnreachable };
    Invocation invocation = 0;
    Cause cause = Cause::kAnswered;
    std::optional<Answer> answer;        ///< of kAnswered
    std::string death;                   ///< else, for people: "killed by signal 9 (Killed)"
    std::string log_tail;                ///< the end of what it said on standard error; may be empty
    std::optional<InvocationBill> bill;  ///< where the platform says
  };

  Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  virtual ~Engine() = default;

  /// Starts one; `name` is that of its log, for people ("worker-0-2"). Throws Error(kIo, kNotFound, kUnavailable).
  virtual Invocation invoke(const Payload& payload, const std::string& name) = 0;
  /// Invocations that have ended since the last call; waits for one up to `time`. To be called again and again.
  [[nodiscard]] virtual std::vector<Ended> wait(std::chrono::milliseconds time) = 0;
  /// Ends it as far as the platform can: where it cannot be killed it is forgotten, and what it does no longer counts.
  /// wait() says that it has ended either way.
  virtual void kill(Invocation invocation) noexcept = 0;
  /// Ends all that runs; nobody hears of it.
  virtual void kill_all() noexcept = 0;

  /// Which limits hold for functions and how, for people; empty: none, or not known.
  [[nodiscard]] virtual std::string limits() const { return {}; }
  /// For tests that kill: process ids of what runs, as far as this machine knows.
  [[nodiscard]] virtual std::vector<pid_t> processes() const { return {}; }
};

}  // namespace virga
