#include "virga/channel/redis_client.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {
namespace {

using Kind = RespValue::Kind;

/// Connections that are kept for later.
constexpr std::size_t kMaxIdle = 16;
constexpr int kOldestVersion = 7;

/// What an error of the server means, by its beginning.
struct Meaning {
  std::string_view begins;
  ErrorKind kind;
  std::string_view remedy;
};
constexpr Meaning kMeanings[] = {
    {"LOADING", ErrorKind::kUnavailable, "the server reads its data: try again when it has"},
    {"BUSY", ErrorKind::kUnavailable, "somebody's script runs in the server: try again"},
    {"MASTERDOWN", ErrorKind::kUnavailable, "its primary is down: try again, or use another server"},
    {"READONLY", ErrorKind::kUnavailable, "this is a replica: use the address of the primary"},
    {"MISCONF", ErrorKind::kUnavailable, "the server cannot save its data: see its log, or switch saving off"},
    {"NOREPLICAS", ErrorKind::kUnavailable, "the server misses its replicas"},
    {"OOM", ErrorKind::kTooLarge,
     "its memory is full: raise maxmemory, or use fewer workers, a smaller model or another channel"},
    {"NOAUTH", ErrorKind::kUnauthorized, "set the variable VIRGA_CHANNEL_TOKEN to the server's password"},
    {"WRONGPASS", ErrorKind::kUnauthorized, "set the variable VIRGA_CHANNEL_TOKEN to the server's password"},
    {"DENIED", ErrorKind::kUnauthorized, "give the server a password, and set the variable VIRGA_CHANNEL_TOKEN to it"},
    {"NOPERM", ErrorKind::kUnauthorized,
     "allow its user the keys virga:* and the commands of docs/formats/channel-redis.md"},
    {"MOVED", ErrorKind::kUnsupported, "this server is part of a cluster: use one without cluster mode"},
    {"ASK", ErrorKind::kUnsupported, "this server is part of a cluster: use one without cluster mode"},
    {"CROSSSLOT", ErrorKind::kUnsupported, "this server is part of a cluster: use one without cluster mode"},
    {"CLUSTERDOWN", ErrorKind::kUnsupported, "this server is part of a cluster: use one without cluster mode"},
    {"WRONGTYPE", ErrorKind::kConflict, "somebody else writes keys that begin with virga: use another database"},
    {"ERR max number of clients", ErrorKind::kThrottled, "raise maxclients of the server, or use fewer workers"},
    {"ERR DB index", ErrorKind::kUsage, "use a database that the server has: 0 to 15, usually"},
    {"ERR SELECT is not allowed", ErrorKind::kUsage, "use database 0"},
    {"ERR unknown command", ErrorKind::kUnsupported,
     "Redis 7.0 or later is needed, with the commands of "
     "docs/formats/channel-redis.md"},
    {"NOPROTO", ErrorKind::kUnsupported, "Redis 7.0 or later is needed"},
    {"ERR Protocol error", ErrorKind::kTooLarge, "raise proto-max-bulk-len of the server to 512mb"},
};

}  // namespace

RedisConnection::RedisConnection(const RedisPlace& place, const std::string& password, std::shared_ptr<TlsClient> tls,
                                 const Wait& wait)
    : uri_(name_of(place)),
      socket_(uri_, place.address.tls
                        ? "check that the Redis server still runs there; if so, try again"
                        : "check that the Redis server still runs there, and if it speaks TLS write rediss://; then "
                          "try again"),
      reader_(kRedisMaxBytes) {
  const auto its = turn(wait);
  socket_.connect(place.address, std::move(tls));
  greet(place, password);
}

void RedisConnection::greet(const RedisPlace& place, const std::string& password) {
  RespRequest request;
  if (password.empty() && place.user.empty()) {
    request.command({"HELLO", "2"});
  } else {
    request.command({"HELLO", "2", "AUTH", place.user.empty() ? "default" : std::string_view(place.user), password});
  }
  if (place.database != 0) request.command({"SELECT", std::to_string(place.database)});
  send(request);
  const auto hello = expect(Kind::kArray, "greeting");
  if (place.database != 0) static_cast<void>(expect(Kind::kStatus, fmt::format("database {}", place.database)));
  for (std::size_t i = 0; i + 1 < hello.items.size(); i += 2) {
    if (hello.items[i].bytes_text() != "version") continue;
    const auto version = hello.items[i + 1].bytes_text();
    int major = 0;
    std::from_chars(version.data(), version.data() + version.size(), major);
    if (major >= kOldestVersion) continue;
    throw Error(ErrorKind::kUnsupported, fmt::format("{}: this is Redis {}", uri_, version.substr(0, 20)),
                "Redis 7.0 or later is needed");
  }
}

void RedisConnection::send(const RespRequest& request) {
  outstanding_ += request.commands();
  socket_.send(request.parts());
}

RespValue RedisConnection::receive_into(std::span<std::byte> to) {
  reader_.direct(to);
  while (!reader_.feed(buffered_)) {
    const auto direct = reader_.unfilled();
    const auto count = socket_.receive(direct, buffer_);
    const auto straight = std::min(count, direct.size());
    reader_.filled(straight);
    buffered_ = ByteView(buffer_).first(count - straight);
  }
  --outstanding_;
  return reader_.take();
}

RespValue RedisConnection::expect(Kind kind, std::string_view what) {
  auto reply = receive();
  if (!reply.is(kind)) fail(reply, what);
  return reply;
}

void RedisConnection::fail(const RespValue& reply, std::string_view what) const {
  if (!reply.is(Kind::kError)) {
    throw Error(ErrorKind::kCorrupt,
                fmt::format("{}: {}: the server answered something else than was asked", uri_, what),
                "check that a Redis server listens there, and that nobody else writes keys that begin with virga:");
  }
  const auto text = fmt::format("{}: {}: the server says: {}", uri_, what, reply.text.substr(0, 300));
  for (const auto& meaning : kMeanings) {
    if (reply.text.starts_with(meaning.begins)) throw Error(meaning.kind, text, std::string(meaning.remedy));
  }
  throw Error(ErrorKind::kCorrupt, text);
}

RedisClient::RedisClient(const RedisPlace& place, std::string password)
    : place_(place), password_(std::move(password)), uri_(name_of(place)), tls_(make_tls_client(place.address)) {}
RedisClient::~RedisClient() = default;

std::unique_ptr<RedisConnection> RedisClient::take_idle() {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return nullptr;
  auto connection = std::move(idle_.back());
  idle_.pop_back();
  return connection;
}

void RedisClient::give_back(std::unique_ptr<RedisConnection> connection) {
  if (!connection->is_in_step()) return;
  const std::lock_guard lock(mutex_);
  if (idle_.size() < kMaxIdle) idle_.push_back(std::move(connection));
}

void RedisClient::call(const Wait& wait, Repeat repeat, const std::function<void(RedisConnection&)>& exchange) {
  if (wait.stop.stop_requested()) throw Error(ErrorKind::kInterrupted, uri_ + ": the call was given up");
  auto connection = take_idle();
  while (repeat == Repeat::kNever && connection && connection->is_stale()) connection = take_idle();
  for (bool is_new = false;; connection.reset()) {
    if (!connection) {
      is_new = true;
      connection = std::make_unique<RedisConnection>(place_, password_, tls_, wait);
    }
    try {
      const auto turn = connection->turn(wait);
      exchange(*connection);
    } catch (const Error& error) {
      // A connection that the server had ended while it was idle.
      const bool again = error.kind() == ErrorKind::kUnavailable && !is_new && !connection->has_heard();
      if (again && repeat == Repeat::kOnce) continue;
      give_back(std::move(connection));
      throw;
    }
    return give_back(std::move(connection));
  }
}

RespValue RedisClient::ask(const RespRequest& request, std::string_view what, const Wait& wait, Repeat repeat) {
  RespValue reply;
  call(wait, repeat, [&](RedisConnection& connection) {
    connection.send(request);
    reply = connection.receive();
    if (reply.is(Kind::kError)) connection.fail(reply, what);
  });
  return reply;
}

void RedisClient::check_server(const Wait& wait) {
  RespRequest request;
  request.command({"INFO", "memory"});
  const auto info = ask(request, "its state", wait);
  const auto text = info.bytes_text();
  const auto has = [&](std::string_view line) { return text.find(line) != std::string_view::npos; };
  if (!has("maxmemory_policy:allkeys-") || has("maxmemory:0\r")) return;
  throw Error(ErrorKind::kUsage,
              fmt::format("{}: when its memory is full this server throws away keys that are still needed", uri_),
              "set its maxmemory-policy to noeviction");
}

std::int64_t redis_block_ms(const Wait& wait) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(wait.deadline.remaining()).count();
  return std::clamp<std::int64_t>(left, 1, 3'600'000);
}

}  // namespace virga
