#pragma once

#include <array>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "virga/base/deadline.h"
#include "virga/channel/redis_place.h"
#include "virga/channel/resp.h"
#include "virga/net/client_socket.h"

namespace virga {

/// The longest string that a server takes, unless it is told otherwise (proto-max-bulk-len).
constexpr std::size_t kRedisMaxBytes = std::size_t{512} << 20;

/// One connection to a Redis server: requests, then their replies in order; who fails in between has fallen out of step
/// and lets the connection go. For one thread at a time.
class RedisConnection {
 public:
  /// `tls`: make_tls_client(place.address), which connections share.
  RedisConnection(const RedisPlace& place, const std::string& password, std::shared_ptr<TlsClient> tls,
                  const Wait& wait);
  RedisConnection(const RedisConnection&) = delete;
  RedisConnection& operator=(const RedisConnection&) = delete;

  /// While it lives, the waits of the connection end with `wait`, shortly after its deadline.
  [[nodiscard]] ClientSocket::Turn turn(const Wait& wait) { return {socket_, wait}; }

  void send(const RespRequest& request);
  /// The reply to the oldest command without one: perhaps an error, which is not thrown.
  [[nodiscard]] RespValue receive() { return receive_into({}); }
  /// The same; a string of that many bytes goes to `to`.
  [[nodiscard]] RespValue receive_into(std::span<std::byte> to);
  /// The reply, or an Error if it is one. `what` was asked for, for its text.
  [[nodiscard]] RespValue expect(RespValue::Kind kind, std::string_view what);

  /// What throws does not spoil the connection: is every reply here?
  [[nodiscard]] bool is_in_step() const noexcept { return outstanding_ == 0; }
  [[nodiscard]] bool has_heard() const noexcept { return socket_.has_heard(); }
  [[nodiscard]] bool is_stale() const noexcept { return socket_.is_stale(); }

  /// Throws an Error for a reply that is one, or is of another kind than is right.
  [[noreturn]] void fail(const RespValue& reply, std::string_view what) const;

 private:
  void greet(const RedisPlace& place, const std::string& password);

  const std::string uri_;
  ClientSocket socket_;
  RespReader reader_;
  std::array<std::byte, 16384> buffer_;
  ByteView buffered_;  // of buffer_: what was received, but not read
  std::size_t outstanding_ = 0;
};

/// Talks to a Redis server, of version 7.0 or later and without cluster mode. Each call has a connection for itself
/// while it lasts, so that one which waits holds up no other; connections are kept for later calls, and made when there
/// is none. Several threads may call any member at once.
///
/// All members throw Error, which names the server: kUnavailable when there is no server, the connection ends (what was
/// asked for may have taken place) or it has not finished loading; kThrottled when it has too many clients;
/// kUnauthorized, also for a certificate that does not prove who it is; kTooLarge when its memory is full; kUnsupported
/// for a cluster or an old server; kDeadlineExceeded, kInterrupted. A call may last a quarter of a second beyond its
/// deadline.
class RedisClient {
 public:
  /// Does not connect yet. Throws what TlsClient does.
  RedisClient(const RedisPlace& place, std::string password);
  ~RedisClient();
  RedisClient(const RedisClient&) = delete;
  RedisClient& operator=(const RedisClient&) = delete;

  /// Connects if need be. Throws Error(kUsage), too, if the server is allowed to throw away what is still needed when
  /// its memory is full.
  void check_server(const Wait& wait);

  /// May a request whose connection ends before anything came back be sent again?
  enum class Repeat : std::uint8_t { kNever, kOnce };
  /// Gives `exchange` a connection, and keeps it afterwards if it is still in step.
  void call(const Wait& wait, Repeat repeat, const std::function<void(RedisConnection&)>& exchange);
  /// One command, whose reply is not an error. `what` is asked for, for errors.
  [[nodiscard]] RespValue ask(const RespRequest& request, std::string_view what, const Wait& wait,
                              Repeat repeat = Repeat::kOnce);

  [[nodiscard]] const std::string& uri() const noexcept { return uri_; }

 private:
  [[nodiscard]] std::unique_ptr<RedisConnection> take_idle();
  void give_back(std::unique_ptr<RedisConnection> connection);

  const RedisPlace place_;
  const std::string password_;
  const std::string uri_;
  const std::shared_ptr<TlsClient> tls_;  // null: plain text
  std::mutex mutex_;                      // guards idle_
  std::vector<std::unique_ptr<RedisConnection>> idle_;
};

/// BLOCK of a command that waits: at least one; what is longer is asked for again.
[[nodiscard]] std::int64_t redis_block_ms(const Wait& wait);

}  // namespace virga
