#include "virga/net/address.h"

#include <charconv>

#include <sys/un.h>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {
namespace {

[[noreturn]] void refuse(std::string_view text, std::string_view why) {
  throw Error(ErrorKind::kUsage, fmt::format("not an address: \"{}\": {}", text.substr(0, 300), why),
              "write unix:/path/of/socket or tcp:host:port, for example tcp:127.0.0.1:7077");
}

}  // namespace

Address parse_address(std::string_view text) {
  if (text.find('\0') != std::string_view::npos) refuse("", "it contains a zero byte");
  if (text.starts_with("unix:")) {
    const auto path = text.substr(5);
    if (path.empty()) refuse(text, "the path is missing");
    if (path.size() >= sizeof(sockaddr_un::sun_path)) {
      refuse(text, fmt::format("the path of a socket has at most {} bytes, this one has {}",
                               sizeof(sockaddr_un::sun_path) - 1, path.size()));
    }
    return {.kind = Address::Kind::kUnix, .path = std::string(path)};
  }
  if (!text.starts_with("tcp:")) refuse(text, "it begins neither with unix: nor with tcp:");
  const auto rest = text.substr(4);
  const auto colon = rest.rfind(':');
  if (colon == std::string_view::npos) refuse(text, "the port is missing");
  auto host = rest.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    refuse(text, "an IPv6 address stands in [brackets]");
  }
  if (host.empty()) refuse(text, "the host is missing");
  const auto digits = rest.substr(colon + 1);
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size()) refuse(text, "the port is a number up to 65535");
  return {.kind = Address::Kind::kTcp, .host = std::string(host), .port = port};
}

std::string to_string(const Address& address) {
  if (address.kind == Address::Kind::kUnix) return "unix:" + address.path;
  const bool is_v6 = address.host.find(':') != std::string::npos;
  return fmt::format("tcp:{}{}{}:{}", is_v6 ? "[" : "", address.host, is_v6 ? "]" : "", address.port);
}

}  // namespace virga
