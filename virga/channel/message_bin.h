#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "virga/base/deadline.h"
#include "virga/base/shared_bytes.h"
#include "virga/channel/paid_requests.h"
#include "virga/channel/pause.h"

namespace virga {

/// A store that keeps values under names for one job, and cannot call anybody: a cache, a table, a bucket. What
/// PolledChannel makes a channel of. Names are such as message_name() makes: 66 characters of 0-9 a-f - /, whose order
/// is that of their bytes. Several threads may call any member at once.
///
/// All members throw Error as Channel does: kDeadlineExceeded and kInterrupted as Wait says, kUnavailable, kThrottled,
/// kUnauthorized, kTooLarge for a store that is full, kCorrupt. A member that was throttled repeats by itself first.
class MessageBin {
 public:
  /// A value to be put: the concatenation of `parts`, borrowed for the call.
  struct Value {
    std::string name;
    std::span<const ByteView> parts;

    [[nodiscard]] std::size_t bytes() const noexcept {
      std::size_t sum = 0;
      for (const auto& part : parts) sum += part.size();
      return sum;
    }
  };
  /// Takes the value under the name at `index`; called by the thread that calls.
  using OnValue = std::function<void(std::size_t index, const SharedBytes& bytes)>;
  /// Takes a name that is there, and the size of its value.
  using OnName = std::function<void(std::string_view name, std::uint64_t bytes)>;

  MessageBin() = default;
  MessageBin(const MessageBin&) = delete;
  MessageBin& operator=(const MessageBin&) = delete;
  virtual ~MessageBin() = default;

  /// Stores all `values`, none larger than max_value_bytes(). The same bytes under a taken name are harmless; for other
  /// bytes throws kConflict where the store tells, else replaces them. A value appears whole or not at all. When it
  /// throws, any of them may have been stored. Once it has returned, every fetch() finds them.
  virtual void put(std::span<const Value> values, const Wait& wait) = 0;

  /// Looks once, for all `names` (distinct), and hands over those that are there, each once, in any order. What
  /// `on_value` throws ends the call. A name that is not there is no error.
  virtual void fetch(std::span<const std::string> names, const OnValue& on_value, const Wait& wait) = 0;

  /// Those that are not there are no error.
  virtual void remove(std::span<const std::string> names, const Wait& wait) = 0;

  /// All names that are less than `before`, in any order; empty: all. May be slow and dear. Others than those of
  /// messages may be among them. `on_name` calls no member.
  virtual void list(std::string_view before, const OnName& on_name, const Wait& wait) = 0;

  /// All names of messages that list(before) has handed over were removed: what else was kept for them can go.
  virtual void swept(std::string_view /*before*/, const Wait& /*wait*/) {}

  /// Called while a wait lasts, after each check_every(): throws if the store is known to have lost values, of whoever,
  /// that were not removed, so that nobody waits for what is gone. `names` are some of those that were put here and not
  /// removed.
  virtual void check_kept(std::span<const std::string> /*names*/, const Wait& /*wait*/) {}
  [[nodiscard]] virtual std::chrono::nanoseconds check_every() const noexcept { return std::chrono::seconds(1); }

  /// Does put() throw kConflict? Else PolledChannel remembers checksums of what it puts.
  [[nodiscard]] virtual bool sees_conflicts() const noexcept { return false; }
  /// Of looks for what is not there yet, by what a look costs.
  [[nodiscard]] virtual Pace pace() const noexcept { return {}; }

  /// Of this object's calls so far; none where requests cost nothing.
  [[nodiscard]] virtual PaidRequests paid() const { return {}; }
  [[nodiscard]] virtual std::size_t max_value_bytes() const noexcept = 0;
  /// Where the store is, for messages; no secret in it.
  [[nodiscard]] virtual const std::string& uri() const noexcept = 0;
};

}  // namespace virga
