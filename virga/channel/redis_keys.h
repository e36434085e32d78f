#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "virga/channel/message_key.h"

namespace virga {

/// What a job's channel and registers are called within a Redis server (docs/formats/channel-redis.md).
class RedisKeys {
 public:
  explicit RedisKeys(std::string_view job);

  /// Of all messages, so that they can be deleted: a sorted set.
  [[nodiscard]] const std::string& index() const noexcept { return index_; }
  /// What comes before a message's name.
  [[nodiscard]] const std::string& messages() const noexcept { return messages_; }
  [[nodiscard]] std::string message(const MessageKey& key) const;
  [[nodiscard]] std::string piece(const MessageKey& key, std::size_t number) const;
  [[nodiscard]] std::string of_register(std::string_view name) const;

 private:
  std::string index_;
  std::string messages_;
  std::string registers_;
};

/// The members of the key in their order, as hexadecimal numbers of fixed length: names sort as keys do.
[[nodiscard]] std::string redis_name(const MessageKey& key);

/// A message in the index: its name (redis_name) and its bytes.
[[nodiscard]] std::string redis_index_member(std::string_view name, std::size_t bytes);
/// The bytes of a member of the index; 0 for what is none.
[[nodiscard]] std::uint64_t redis_indexed_bytes(std::string_view member) noexcept;

/// Names in the index, as ZRANGEBYLEX wants them.
struct RedisRange {
  std::string from;
  std::string to;
};
/// What `source` put in `group` of `view` in `round` and before.
[[nodiscard]] RedisRange redis_rounds(std::uint32_t view, std::uint32_t group, std::uint32_t source,
                                      std::uint64_t round);
/// All messages of views before `view`.
[[nodiscard]] RedisRange redis_views_before(std::uint32_t view);

}  // namespace virga
