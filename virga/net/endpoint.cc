#include "virga/net/endpoint.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/net/http.h"

namespace virga {
namespace {

constexpr std::uint16_t kHttpPort = 80;
constexpr std::uint16_t kHttpsPort = 443;

}  // namespace

Endpoint parse_endpoint(std::string_view text, const std::string& authorities) {
  if (text.find('@') != std::string_view::npos) {
    throw Error(ErrorKind::kUsage, "an endpoint has no user and no password in it",
                "write http://host:port; credentials come from the environment or from files");
  }
  constexpr std::string_view kHttp = "http://", kHttps = "https://";
  const bool is_secure = text.starts_with(kHttps);
  auto host = is_secure                 ? text.substr(kHttps.size())
              : text.starts_with(kHttp) ? text.substr(kHttp.size())
                                        : std::string_view();
  if (host.ends_with('/')) host.remove_suffix(1);
  const auto is_wrong = [](char c) {
    return static_cast<unsigned char>(c) <= ' ' || c == 0x7F || std::strchr("/?#\\", c);
  };
  if (host.empty() || std::ranges::any_of(host, is_wrong)) {
    throw Error(ErrorKind::kUsage, fmt::format("not an endpoint: \"{}\"", text.substr(0, 300)),
                "write http://host:port or https://host:port and nothing more");
  }
  const auto colon = host.rfind(':');
  const bool has_port = colon != std::string_view::npos && !host.ends_with(']');
  const auto usual = is_secure ? kHttpsPort : kHttpPort;
  auto address = parse_address(has_port ? fmt::format("tcp:{}", host) : fmt::format("tcp:{}:{}", host, usual));
  if (is_secure) address.tls = {.name = address.host, .authorities = authorities};
  if (has_port && address.port == usual) host = host.substr(0, colon);
  return {.address = address, .host = std::string(host)};
}

std::string url_of(const Endpoint& endpoint) { return (endpoint.address.tls ? "https://" : "http://") + endpoint.host; }

std::string host_header(const Address& address) {
  if (address.kind == Address::Kind::kUnix) return "localhost";
  auto named = address;
  if (address.tls) named.host = address.tls->name;
  const auto text = to_string(named).substr(std::strlen("tcp:"));
  return address.tls && address.port == kHttpsPort ? text.substr(0, text.rfind(':')) : text;
}

void apply_tls(const TlsParameters& parameters, Address& address) {
  if (parameters.ca.empty() && parameters.via.empty()) return;
  if (!address.tls) {
    throw Error(ErrorKind::kUsage, "ca and via are parameters of a server that speaks TLS, and this one does not",
                "write https:// or rediss://, or leave them out");
  }
  if (!parameters.ca.empty() && !parameters.ca.starts_with('/')) {
    throw Error(ErrorKind::kUsage, "ca is the relative path of a file", "write the whole path, from / on");
  }
  if (!parameters.ca.empty()) address.tls->authorities = parameters.ca;
  if (!parameters.via.empty()) address.host = parameters.via;
}

std::string tls_parameters_of(const Address& address, char separator) {
  if (!address.tls) return {};
  std::string text;
  const auto add = [&](std::string_view name, const std::string& value) {
    text += fmt::format("{}{}={}", text.empty() ? separator : '&', name, percent_encode(value, /*keep_slash=*/true));
  };
  if (!address.tls->authorities.empty()) add("ca", address.tls->authorities);
  if (address.tls->name != address.host) add("via", address.host);
  return text;
}

}  // namespace virga
