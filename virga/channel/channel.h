#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "virga/base/deadline.h"
#include "virga/base/shared_bytes.h"
#include "virga/channel/message_key.h"
#include "virga/channel/paid_requests.h"

namespace virga {

/// A message to be put: the concatenation of `parts`, borrowed for the call, so that a header and a gradient need not
/// be copied together.
struct Outgoing {
  MessageKey key;
  std::span<const ByteView> parts;

  [[nodiscard]] std::size_t bytes() const noexcept {
    std::size_t sum = 0;
    for (const auto& part : parts) sum += part.size();
    return sum;
  }
};

/// Takes a message that has arrived; called by the thread that waits.
using OnMessage = std::function<void(const MessageKey& key, const SharedBytes& bytes)>;

/// What a channel holds.
struct ChannelContents {
  std::uint64_t messages = 0;
  std::uint64_t bytes = 0;  ///< of messages, without keys
  bool operator==(const ChannelContents&) const = default;
};

/// A Channel carries immutable messages of one job between functions that cannot reach each other: one puts bytes under
/// a key, others wait for them. Putting the same bytes again is harmless, so a function that was started twice does no
/// damage; other bytes under a taken key are the caller's bug, and a channel that can see it throws Error(kConflict).
/// Once put() has returned, every get() finds the messages. A message appears whole or not at all. A get() removes
/// nothing. Several threads may call any member at once.
///
/// All members throw Error: kDeadlineExceeded and kInterrupted as Wait says, kUnavailable when the store cannot be
/// reached (is_retryable; a put may have taken place), kUnauthorized, kTooLarge for a message beyond
/// max_message_bytes() or a store that is full, kCorrupt for what the store should not have said.
class Channel {
 public:
  Channel() = default;
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  virtual ~Channel() = default;

  /// Stores all `messages`; the buffers stay the caller's. When it throws, any of them may have been stored.
  virtual void put(std::span<const Outgoing> messages, const Wait& wait) = 0;

  /// Waits for all `keys` (distinct) and hands each message, once, to `on_message` as it arrives, in any order.
  /// kDeadlineExceeded names keys that are missing. What `on_message` throws ends the call.
  virtual void get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) = 0;

  /// put(), then get(): where a store takes both in one request, it saves a journey.
  virtual void put_and_get(std::span<const Outgoing> messages, std::span<const MessageKey> keys,
                           const OnMessage& on_message, const Wait& wait);

  /// The message, if it is there already.
  [[nodiscard]] virtual std::optional<SharedBytes> try_get(const MessageKey& key, const Wait& wait) = 0;

  /// Deletes what `source` put in `group` of `view` in `round` and before. Repeatable. Requires that nobody will get it
  /// any more.
  virtual void retire(std::uint32_t view, std::uint32_t group, std::uint32_t source, std::uint64_t round,
                      const Wait& wait) = 0;

  /// Deletes all messages of views before `view`. Repeatable.
  virtual void sweep(std::uint32_t view, const Wait& wait) = 0;

  /// For tests and diagnosis: may be slow.
  [[nodiscard]] virtual ChannelContents contents(const Wait& wait) = 0;

  /// Size of the largest message; callers split what is larger (see chunked()).
  [[nodiscard]] virtual std::size_t max_message_bytes() const noexcept = 0;

  /// Of this object's calls so far; none where requests cost nothing.
  [[nodiscard]] virtual PaidRequests paid() const { return {}; }

  /// Where this channel is, for messages.
  [[nodiscard]] virtual const std::string& uri() const noexcept = 0;
};

/// Throws Error(kDeadlineExceeded): so many of `keys` have not come, the first of which are named; and `because`, if it
/// is known.
[[noreturn]] void throw_missing(const Channel& channel, std::span<const MessageKey> missing,
                                std::string_view because = {});

}  // namespace virga
