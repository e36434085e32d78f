#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace virga {

/// How a server proves who it is.
struct TlsPeer {
  std::string name;         ///< what its certificate is for: a host's name or number
  std::string authorities;  ///< file of certificates (PEM) of those who may sign it; empty: this system's
  bool operator==(const TlsPeer&) const = default;
};

/// Where a server listens: "unix:/path/of/socket" or "tcp:host:port" ("tcp:[::1]:7077" for IPv6; port 0: any).
struct Address {
  enum class Kind : std::uint8_t { kUnix, kTcp };
  Kind kind = Kind::kUnix;
  std::string path;  ///< unix
  std::string host;  ///< tcp
  std::uint16_t port = 0;
  std::optional<TlsPeer> tls = std::nullopt;  ///< nothing: it speaks plain text
  bool operator==(const Address&) const = default;
};

/// One without TLS. Throws Error(kUsage), which says what an address looks like.
[[nodiscard]] Address parse_address(std::string_view text);
/// What parse_address() reads; not whether TLS is spoken there.
[[nodiscard]] std::string to_string(const Address& address);

}  // namespace virga
