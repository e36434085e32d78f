#pragma once

#include <memory>
#include <string>
#include <vector>

#include "virga/channel/channel.h"
#include "virga/channel/redis_client.h"
#include "virga/channel/redis_keys.h"

namespace virga {

/// Messages through a Redis server, which pushes what is waited for (docs/formats/channel-redis.md). Throws
/// Error(kConflict) for other bytes under a taken key. What is put a second time is read back to be compared. A call
/// may last a quarter of a second beyond its deadline.
class RedisChannel final : public Channel {
 public:
  /// Does not connect yet. The client may be shared with a RedisRegister and other jobs.
  RedisChannel(std::shared_ptr<RedisClient> client, std::string_view job) : client_(std::move(client)), keys_(job) {}

  void put(std::span<const Outgoing> messages, const Wait& wait) override;
  void get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) override;
  void put_and_get(std::span<const Outgoing> messages, std::span<const MessageKey> keys, const OnMessage& on_message,
                   const Wait& wait) override;
  [[nodiscard]] std::optional<SharedBytes> try_get(const MessageKey& key, const Wait& wait) override;
  void retire(std::uint32_t view, std::uint32_t group, std::uint32_t source, std::uint64_t round,
              const Wait& wait) override;
  void sweep(std::uint32_t view, const Wait& wait) override;
  [[nodiscard]] ChannelContents contents(const Wait& wait) override;
  [[nodiscard]] std::size_t max_message_bytes() const noexcept override { return std::size_t{1} << 30; }
  [[nodiscard]] const std::string& uri() const noexcept override { return client_->uri(); }

 private:
  class Putting;
  class Getting;

  void check_sizes(std::span<const Outgoing> messages) const;
  /// Throws Error(kConflict) if other bytes are there.
  void compare(const Outgoing& message, const Wait& wait);
  void remove(const RedisRange& range, const Wait& wait);

  const std::shared_ptr<RedisClient> client_;
  const RedisKeys keys_;
};

}  // namespace virga
