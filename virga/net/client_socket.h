#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include <sys/uio.h>

#include "virga/base/bytes.h"
#include "virga/base/deadline.h"
#include "virga/net/address.h"
#include "virga/net/socket.h"
#include "virga/net/tls.h"

namespace virga {

/// A client's end of a connection: all that it waits for is bounded and can be given up. For one thread at a time. Who
/// gives up a turn may end the connection with it: is_stale().
///
/// Throws Error, whose text begins with `name`: kUnavailable when there is no server or the connection ends,
/// kDeadlineExceeded a quarter of a second after the deadline of the turn, in which the answer to a wait that ran out
/// arrives, and kInterrupted.
class ClientSocket {
 public:
  /// `name`: of the server, in errors; `remedy`: for a connection that ended. Is not connected yet.
  ClientSocket(std::string name, std::string remedy) : name_(std::move(name)), remedy_(std::move(remedy)) {}
  ClientSocket(const ClientSocket&) = delete;
  ClientSocket& operator=(const ClientSocket&) = delete;

  /// While it lives, the waits of the socket end with `wait`.
  class Turn {
   public:
    Turn(ClientSocket& socket, const Wait& wait);
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    ClientSocket& socket_;
    std::optional<std::stop_callback<std::function<void()>>> on_stop_;
  };

  /// In a turn, once. `tls`: make_tls_client(address), which several sockets share. Throws what TlsStream does, too.
  void connect(const Address& address, std::shared_ptr<TlsClient> tls = nullptr);

  /// Sends `parts`, one after the other.
  void send(std::span<const ByteView> parts);

  /// Receives something into `first`, and what is more into `second`; returns how many bytes in all, perhaps none.
  [[nodiscard]] std::size_t receive(std::span<std::byte> first, std::span<std::byte> second);

  /// Has anything come back since the last send()?
  [[nodiscard]] bool has_heard() const noexcept { return heard_; }
  /// Has the server ended an idle connection?
  [[nodiscard]] bool is_stale() const noexcept;

  [[noreturn]] void fail(ErrorKind kind, std::string_view what) const;

 private:
  void shake_hands(std::shared_ptr<TlsClient> tls);
  void send_over_tls(std::span<const ByteView> parts);
  [[nodiscard]] std::size_t receive_over_tls(std::span<std::byte> to);
  /// What `use` makes of the stream of TLS, in whose errors the server is named.
  template <typename Use>
  auto over_tls(const Use& use);

  void give_up() noexcept;
  [[nodiscard]] Woken ready(short events);
  void wait_for(short events);
  [[noreturn]] void fail_given_up() const;
  [[noreturn]] void fail_lost(int error_number) const;

  const std::string name_;
  const std::string remedy_;
  WakeEvent stop_;
  Descriptor socket_;
  std::optional<TlsStream> tls_;
  Deadline deadline_ = Deadline::in({});
  bool stoppable_ = false;
  std::atomic<bool> given_up_ = false;  // the turn
  std::atomic<int> blocking_ = -1;      // a socket whose receiver only its end wakes before a tick
  std::vector<iovec> vectors_;
  bool more_is_there_ = false;  // the last receive was not the end of what has come
  bool heard_ = false;
};

}  // namespace virga
