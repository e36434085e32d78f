#pragma once

#include <memory>
#include <string>

#include "virga/channel/redis_client.h"
#include "virga/channel/redis_keys.h"
#include "virga/channel/register.h"

namespace virga {

/// Registers in a Redis server, which pushes what is waited for (docs/formats/channel-redis.md). A call may last a
/// quarter of a second beyond its deadline.
class RedisRegister final : public Register {
 public:
  /// Does not connect yet. The client may be shared with a RedisChannel and other jobs.
  RedisRegister(std::shared_ptr<RedisClient> client, std::string_view job) : client_(std::move(client)), keys_(job) {}

  [[nodiscard]] std::optional<RegisterValue> read(std::string_view name, const Wait& wait) override;
  std::uint64_t write(std::string_view name, ByteView bytes, const Wait& wait) override;
  [[nodiscard]] std::optional<std::uint64_t> compare_exchange(std::string_view name, std::uint64_t expected,
                                                              ByteView bytes, const Wait& wait) override;
  [[nodiscard]] RegisterValue wait_newer(std::string_view name, std::uint64_t version, const Wait& wait) override;
  void remove(std::string_view name, const Wait& wait) override;
  [[nodiscard]] std::size_t max_value_bytes() const noexcept override { return kRedisMaxBytes - 1024; }
  [[nodiscard]] const std::string& uri() const noexcept override { return client_->uri(); }

 private:
  void check(std::string_view name, ByteView bytes) const;
  [[nodiscard]] RegisterValue value_of(RespValue& entry, std::string_view name) const;

  const std::shared_ptr<RedisClient> client_;
  const RedisKeys keys_;
};

}  // namespace virga
