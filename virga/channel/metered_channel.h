#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>

#include "virga/channel/channel.h"

namespace virga {

/// What calls of one kind have used.
struct CallUse {
  std::uint64_t calls = 0;
  std::uint64_t failed = 0;    ///< calls that threw
  std::uint64_t requests = 0;  ///< one for each key or message named in a call: what a store that takes one at a time
                               ///< is asked, without its polls
  std::uint64_t messages = 0;  ///< put by calls that returned; or got
  std::uint64_t bytes = 0;     ///< of those messages, without keys
  std::chrono::nanoseconds waiting{0};  ///< in the channel; not in `on_message`

  CallUse& operator+=(const CallUse& other) noexcept;
  CallUse& operator-=(const CallUse& other) noexcept;
  bool operator==(const CallUse&) const = default;
};

/// What a channel was used for. The difference of two is what was used between them.
struct ChannelUse {
  CallUse put;
  CallUse get;
  CallUse try_get;
  CallUse retire;
  CallUse sweep;
  CallUse contents;

  [[nodiscard]] CallUse total() const noexcept;
  ChannelUse& operator-=(const ChannelUse& other) noexcept;
  [[nodiscard]] friend ChannelUse operator-(ChannelUse left, const ChannelUse& right) noexcept { return left -= right; }
  bool operator==(const ChannelUse&) const = default;
};

/// Counts what passes through to another channel, which must outlive it. What stands outside of a retrying or chunked
/// channel sees the caller's messages, what stands inside sees each request.
class MeteredChannel final : public Channel {
 public:
  explicit MeteredChannel(Channel& inner) : inner_(inner) {}

  void put(std::span<const Outgoing> messages, const Wait& wait) override;
  void get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) override;
  [[nodiscard]] std::optional<SharedBytes> try_get(const MessageKey& key, const Wait& wait) override;
  void retire(std::uint32_t view, std::uint32_t group, std::uint32_t source, std::uint64_t round,
              const Wait& wait) override;
  void sweep(std::uint32_t view, const Wait& wait) override;
  [[nodiscard]] ChannelContents contents(const Wait& wait) override;
  [[nodiscard]] std::size_t max_message_bytes() const noexcept override { return inner_.max_message_bytes(); }
  [[nodiscard]] PaidRequests paid() const override { return inner_.paid(); }
  [[nodiscard]] const std::string& uri() const noexcept override { return inner_.uri(); }

  /// All calls that have ended.
  [[nodiscard]] ChannelUse use() const;

 private:
  class Call;

  Channel& inner_;
  mutable std::mutex mutex_;  // guards use_
  ChannelUse use_;
};

}  // namespace virga
