#include "virga/net/endpoint.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {

Endpoint parse_endpoint(std::string_view text) {
  if (text.find('@') != std::string_view::npos) {
    throw Error(ErrorKind::kUsage, "an endpoint has no user and no password in it",
                "write http://host:port; credentials come from the environment or from files");
  }
  if (text.starts_with("https://")) {
    throw Error(ErrorKind::kUnsupported, fmt::format("{}: https is not built", text.substr(0, 300)),
                "use an endpoint that speaks http");
  }
  constexpr std::string_view kHttp = "http://";
  auto host = text.starts_with(kHttp) ? text.substr(kHttp.size()) : std::string_view();
  if (host.ends_with('/')) host.remove_suffix(1);
  const auto is_wrong = [](char c) {
    return static_cast<unsigned char>(c) <= ' ' || c == 0x7F || std::strchr("/?#\\", c);
  };
  if (host.empty() || std::ranges::any_of(host, is_wrong)) {
    throw Error(ErrorKind::kUsage, fmt::format("not an endpoint: \"{}\"", text.substr(0, 300)),
                "write http://host:port and nothing more");
  }
  const auto colon = host.rfind(':');
  const bool has_port = colon != std::string_view::npos && !host.ends_with(']');
  const auto address = parse_address(fmt::format("tcp:{}{}", host, has_port ? "" : ":80"));
  if (has_port && address.port == 80) host = host.substr(0, colon);
  return {.address = address, .host = std::string(host)};
}

}  // namespace virga
