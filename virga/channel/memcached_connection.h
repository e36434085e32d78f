#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "virga/base/deadline.h"
#include "virga/base/shared_bytes.h"
#include "virga/channel/memcached_reply.h"
#include "virga/net/client_socket.h"

namespace virga {

/// One connection to Memcached: commands, then their answers to the end; who fails in between has fallen out of step
/// and lets the connection go. For one thread at a time. Throws Error as MemcachedClient does.
class MemcachedConnection {
 public:
  /// Connects; if the server wants to know who it is, says so with `token` ("user:password").
  MemcachedConnection(const Address& address, const std::string& uri, std::string_view token, const Wait& wait);

  using Turn = ClientSocket::Turn;
  [[nodiscard]] ClientSocket& socket() noexcept { return socket_; }
  [[nodiscard]] const std::string& uri() const noexcept { return uri_; }

  void send(std::span<const ByteView> parts);
  void send(std::string_view commands);
  /// The next answer; its text lives until the next call. Throws what the server refuses as an Error.
  [[nodiscard]] const MemcachedReply& receive();
  /// The bytes of the kValue that receive() has returned.
  [[nodiscard]] SharedBytes receive_value();
  /// The same, to a place of that size.
  void receive_value(std::span<std::byte> to);
  /// All answers have come.
  void done() noexcept { in_step_ = true; }
  /// Throws Error(kCorrupt): this answer does not answer the question.
  [[noreturn]] void fail_unexpected() const;

  [[nodiscard]] bool is_in_step() const noexcept { return in_step_; }

 private:
  void receive_more();
  void authenticate(std::string_view token);
  [[noreturn]] void throw_refusal(std::string_view line) const;

  const std::string uri_;
  ClientSocket socket_;
  MemcachedReader reader_;
  std::array<std::byte, std::size_t{16} << 10> buffer_;
  ByteView buffered_;  // of buffer_: what was received, but not read
  bool in_step_ = true;
};

}  // namespace virga
