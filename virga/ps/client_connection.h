#pragma once

#include <array>
#include <span>
#include <string>

#include "virga/base/deadline.h"
#include "virga/base/shared_bytes.h"
#include "virga/net/client_socket.h"
#include "virga/ps/frame_reader.h"
#include "virga/ps/protocol.h"

namespace virga {

/// One connection of a client to a data store. A request, then its replies to the end; who fails in between has fallen
/// out of step and lets the connection go. For one thread at a time. Throws Error as PsClient does.
class PsConnection {
 public:
  /// Connects, and says hello.
  PsConnection(const Address& address, const PsHello& hello, const Wait& wait);
  PsConnection(const PsConnection&) = delete;
  PsConnection& operator=(const PsConnection&) = delete;

  /// While it lives, the waits of the connection end with `wait`, shortly after its deadline.
  [[nodiscard]] ClientSocket::Turn turn(const Wait& wait) { return {socket_, wait}; }

  /// Sends `parts`, one after the other, as one request.
  void send(std::span<const ByteView> parts);
  void send(const PsRequest& request);

  /// The next reply, with its body. Throws what the store answers as an Error.
  [[nodiscard]] PsReply receive(SharedBytes& body);
  /// The next reply, which is to be a Reply.
  template <typename Reply>
  [[nodiscard]] Reply expect(SharedBytes& body) {
    auto reply = receive(body);
    if (auto* expected = std::get_if<Reply>(&reply)) return std::move(*expected);
    fail_unexpected();
  }
  /// The same for the first of two requests that were sent together.
  template <typename Reply>
  void expect_first(SharedBytes& body) {
    try {
      static_cast<void>(expect<Reply>(body));
    } catch (...) {
      in_step_ = false;  // the reply to the second will come
      throw;
    }
    in_step_ = false;
  }
  [[noreturn]] void fail_unexpected() const;

  /// Is the last reply to the last request here?
  [[nodiscard]] bool is_in_step() const noexcept { return in_step_; }
  /// Has anything come back since the last request?
  [[nodiscard]] bool has_heard() const noexcept { return socket_.has_heard(); }
  /// Has the store ended an idle connection?
  [[nodiscard]] bool is_stale() const noexcept { return socket_.is_stale(); }

 private:
  void receive_more();

  const std::string address_;
  ClientSocket socket_;
  FrameReader reader_;
  std::array<std::byte, 16384> buffer_;
  ByteView buffered_;  // of buffer_: what was received, but not read
  bool in_step_ = true;
};

}  // namespace virga
