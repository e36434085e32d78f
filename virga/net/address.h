#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace virga {

/// Where a server listens: "unix:/path/of/socket" or "tcp:host:port" ("tcp:[::1]:7077" for IPv6; port 0: any).
struct Address {
  enum class Kind : std::uint8_t { kUnix, kTcp };
  Kind kind = Kind::kUnix;
  std::string path;  ///< unix
  std::string host;  ///< tcp
  std::uint16_t port = 0;
  bool operator==(const Address&) const = default;
};

/// Throws Error(kUsage), which says what an address looks like.
[[nodiscard]] Address parse_address(std::string_view text);
/// What parse_address() reads.
[[nodiscard]] std::string to_string(const Address& address);

}  // namespace virga
