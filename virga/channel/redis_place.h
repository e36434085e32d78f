#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "virga/net/address.h"

namespace virga {

/// Where a Redis server is: "redis://HOST", "redis://USER@HOST:PORT/DATABASE" or "redis:unix:/PATH"; with TLS
/// "rediss://HOST", "rediss://USER@HOST:PORT/DATABASE?ca=FILE&via=NUMBER" (TlsParameters). No secret.
struct RedisPlace {
  Address address;
  std::string user;  ///< empty: the server's default user
  std::uint32_t database = 0;
  bool operator==(const RedisPlace&) const = default;
};

/// Does `uri` claim to be one of a Redis server?
[[nodiscard]] bool is_redis_uri(std::string_view uri) noexcept;
/// Throws Error(kUsage) for what is none. A password in `uri` is refused, and not repeated.
[[nodiscard]] RedisPlace parse_redis_uri(std::string_view uri);
/// What parse_redis_uri() reads, complete.
[[nodiscard]] std::string to_string(const RedisPlace& place);
/// The same without parameters, for messages.
[[nodiscard]] std::string name_of(const RedisPlace& place);

}  // namespace virga
