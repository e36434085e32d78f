#include "virga/channel/redis_place.h"

#include <charconv>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/net/endpoint.h"
#include "virga/net/http.h"

namespace virga {
namespace {

constexpr std::string_view kTcpScheme = "redis://";
constexpr std::string_view kTlsScheme = "rediss://";
constexpr std::string_view kUnixScheme = "redis:unix:";
constexpr std::uint16_t kUsualPort = 6379;

[[noreturn]] void refuse_uri(std::string_view why) {
  throw Error(ErrorKind::kUsage, fmt::format("not the URI of a Redis server: {}", why),
              "write redis://HOST:PORT, redis://HOST:PORT/DATABASE or redis:unix:/path/of/socket; with TLS "
              "rediss://HOST:PORT/DATABASE, perhaps with ?ca=FILE");
}

template <typename Number>
Number number_in_uri(std::string_view digits, std::string_view what) {
  Number number{};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    refuse_uri(fmt::format("its {} is no number", what));
  }
  return number;
}

/// Takes them off the end of `uri`. Not repeated: a password may contain anything, a question mark too.
TlsParameters take_tls_parameters(std::string_view& uri) {
  const auto question = uri.find('?');
  if (question == std::string_view::npos) return {};
  TlsParameters given;
  try {
    for (const auto& [name, value] : query_of(uri)) {
      auto* const to = name == "ca" ? &given.ca : name == "via" ? &given.via : nullptr;
      if (to == nullptr || value.empty() || !to->empty()) refuse_uri("its parameters are ca and via, each once");
      *to = value;
    }
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kUsage) throw;
    refuse_uri("its parameters are not percent-encoded");
  }
  uri = uri.substr(0, question);
  return given;
}

}  // namespace

bool is_redis_uri(std::string_view uri) noexcept { return uri.starts_with("redis:") || uri.starts_with("rediss:"); }

RedisPlace parse_redis_uri(std::string_view uri) {
  RedisPlace place;
  const bool is_secure = uri.starts_with(kTlsScheme);
  if (uri.starts_with(kUnixScheme)) {
    place.address = parse_address(fmt::format("unix:{}", uri.substr(kUnixScheme.size())));
    return place;
  }
  if (!is_secure && !uri.starts_with(kTcpScheme)) {
    refuse_uri("it begins neither with redis:// nor with rediss:// nor with redis:unix:");
  }
  const auto parameters = is_secure ? take_tls_parameters(uri) : TlsParameters();
  auto rest = uri.substr((is_secure ? kTlsScheme : kTcpScheme).size());
  // A password may contain anything, so nothing of the URI is repeated before it is known that there is none.
  if (const auto at = rest.rfind('@'); at != std::string_view::npos) {
    place.user = rest.substr(0, at);
    if (place.user.find(':') != std::string::npos) {
      throw Error(ErrorKind::kUsage, "the URI of a Redis server holds a password, which would be kept with the run",
                  "leave it out (redis://USER@HOST:PORT) and set the variable VIRGA_CHANNEL_TOKEN to it");
    }
    rest = rest.substr(at + 1);
  }
  if (const auto slash = rest.find('/'); slash != std::string_view::npos) {
    const auto digits = rest.substr(slash + 1);
    if (!digits.empty()) place.database = number_in_uri<std::uint32_t>(digits, "database");
    rest = rest.substr(0, slash);
  }
  const auto bracket = rest.find(']');
  const auto colon = rest.find(':', bracket == std::string_view::npos ? 0 : bracket);
  const auto port =
      colon == std::string_view::npos ? kUsualPort : number_in_uri<std::uint16_t>(rest.substr(colon + 1), "port");
  if (port == 0) refuse_uri("its port is 0");
  place.address = parse_address(fmt::format("tcp:{}:{}", rest.substr(0, colon), port));
  if (is_secure) place.address.tls = {.name = place.address.host, .authorities = {}};
  apply_tls(parameters, place.address);
  return place;
}

std::string name_of(const RedisPlace& place) {
  if (place.address.kind == Address::Kind::kUnix) return fmt::format("redis:unix:{}", place.address.path);
  auto named = place.address;
  if (named.tls) named.host = named.tls->name;
  return fmt::format("{}{}{}{}{}", named.tls ? kTlsScheme : kTcpScheme, place.user, place.user.empty() ? "" : "@",
                     to_string(named).substr(4), place.database == 0 ? "" : fmt::format("/{}", place.database));
}

std::string to_string(const RedisPlace& place) { return name_of(place) + tls_parameters_of(place.address, '?'); }

}  // namespace virga
