#pragma once

#include <condition_variable>
#include <map>
#include <mutex>

#include "virga/channel/channel.h"

namespace virga {

/// Messages among the threads of one process. Throws Error(kConflict) for other bytes under a taken key.
class MemoryChannel final : public Channel {
 public:
  explicit MemoryChannel(std::size_t max_message_bytes = std::size_t{1} << 30)
      : max_message_bytes_(max_message_bytes) {}

  void put(std::span<const Outgoing> messages, const Wait& wait) override;
  void get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) override;
  [[nodiscard]] std::optional<SharedBytes> try_get(const MessageKey& key, const Wait& wait) override;
  void retire(std::uint32_t view, std::uint32_t group, std::uint32_t source, std::uint64_t round,
              const Wait& wait) override;
  void sweep(std::uint32_t view, const Wait& wait) override;
  [[nodiscard]] ChannelContents contents(const Wait& wait) override;
  [[nodiscard]] std::size_t max_message_bytes() const noexcept override { return max_message_bytes_; }
  [[nodiscard]] const std::string& uri() const noexcept override { return uri_; }

 private:
  const std::size_t max_message_bytes_;
  const std::string uri_ = "memory:";
  std::mutex mutex_;  // guards messages_
  std::condition_variable_any arrived_;
  std::map<MessageKey, SharedBytes> messages_;
};

}  // namespace virga
