#include "virga/channel/redis_place.h"

#include <charconv>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {
namespace {

constexpr std::string_view kTcpScheme = "redis://";
constexpr std::string_view kTlsScheme = "rediss:";
constexpr std::string_view kUnixScheme = "redis:unix:";
constexpr std::uint16_t kUsualPort = 6379;

[[noreturn]] void refuse_uri(std::string_view why) {
  throw Error(ErrorKind::kUsage, fmt::format("not the URI of a Redis server: {}", why),
              "write redis://HOST:PORT, redis://HOST:PORT/DATABASE or redis:unix:/path/of/socket");
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

}  // namespace

bool is_redis_uri(std::string_view uri) noexcept { return uri.starts_with("redis:") || uri.starts_with(kTlsScheme); }

RedisPlace parse_redis_uri(std::string_view uri) {
  if (uri.starts_with(kTlsScheme)) {
    throw Error(ErrorKind::kUnsupported, "rediss: TLS to a Redis server is not built",
                "use redis://, in a network that you trust");
  }
  RedisPlace place;
  if (uri.starts_with(kUnixScheme)) {
    place.address = parse_address(fmt::format("unix:{}", uri.substr(kUnixScheme.size())));
    return place;
  }
  if (!uri.starts_with(kTcpScheme)) refuse_uri("it begins neither with redis:// nor with redis:unix:");
  auto rest = uri.substr(kTcpScheme.size());
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
  return place;
}

std::string to_string(const RedisPlace& place) {
  if (place.address.kind == Address::Kind::kUnix) return fmt::format("redis:unix:{}", place.address.path);
  const auto address = to_string(place.address).substr(4);
  return fmt::format("{}{}{}{}{}", kTcpScheme, place.user, place.user.empty() ? "" : "@", address,
                     place.database == 0 ? "" : fmt::format("/{}", place.database));
}

}  // namespace virga
