#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "virga/channel/channel.h"

namespace virga {

struct RetryOptions {
  unsigned attempts = 6;                                                 ///< of a call, without progress; at least 1
  std::chrono::nanoseconds first_pause = std::chrono::milliseconds(20);  ///< doubled after each failure
  std::chrono::nanoseconds longest_pause = std::chrono::seconds(2);
  std::uint64_t seed =
      0;  ///< of the jitter; should differ from worker to worker, so that they do not come back at once
};

/// Makes calls again that failed with an error that is_retryable(), on another channel, which must outlive it: after a
/// pause of first_pause * 2^i (at most longest_pause), of which a random half is left out. kDeadlineExceeded is final.
/// A put is made again as a whole, which is harmless; a get asks again for what has not come, so that each message is
/// handed over once, and its attempts are counted anew when something has come. What `on_message` throws is handed on.
/// When the attempts are used up the last error is thrown with its kind; kDeadlineExceeded when the wait ends before
/// the next attempt.
class RetryingChannel final : public Channel {
 public:
  explicit RetryingChannel(Channel& inner, const RetryOptions& options = {});

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

  /// Calls that were made again.
  [[nodiscard]] std::uint64_t retries() const noexcept { return retries_; }

 private:
  class Attempts;

  Channel& inner_;
  const RetryOptions options_;
  std::atomic<std::uint64_t> calls_ = 0;
  std::atomic<std::uint64_t> retries_ = 0;
};

}  // namespace virga
