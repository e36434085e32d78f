#pragma once

#include <cstdint>
#include <string>

#include "virga/base/deadline.h"
#include "virga/net/address.h"
#include "virga/net/descriptor.h"

namespace virga {

/// A counter that wakes a thread which polls it.
class WakeEvent {
 public:
  WakeEvent();
  void notify() const noexcept;
  /// Forgets past notifications.
  void clear() const noexcept;
  [[nodiscard]] int descriptor() const noexcept { return descriptor_.get(); }

 private:
  Descriptor descriptor_;
};

/// A socket that listens, not blocking. A Unix socket is a file of mode 0600, which is removed at the end; one that a
/// server left behind when it was killed is replaced.
class Listener {
 public:
  /// Throws Error: kConflict if somebody listens there or the path is taken, kUsage for a host that is not known, kIo.
  explicit Listener(const Address& address);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  /// With the port that was chosen.
  [[nodiscard]] const Address& address() const noexcept { return address_; }
  /// Can only this machine reach it?
  [[nodiscard]] bool is_local() const noexcept { return is_local_; }
  [[nodiscard]] int descriptor() const noexcept { return socket_.get(); }

  /// A connection, tuned and not blocking; none, and errno says why (EAGAIN: there is none at present; else no
  /// descriptors are left, as a rule). One that was given up while it waited is passed over.
  [[nodiscard]] Descriptor accept() const noexcept;

 private:
  void listen_on_unix();
  void listen_on_tcp();

  Address address_;
  Descriptor socket_;
  bool is_local_ = true;
  std::uint64_t device_ = 0;  // of the Unix socket's file
  std::uint64_t inode_ = 0;
};

enum class Woken : std::uint8_t { kReady, kStopped, kDeadline };

/// `address` with its host's number in place of its name: of several, one that answers, as connect_to() finds it.
/// Does nothing for a number or a Unix socket.
[[nodiscard]] Address numbered(const Address& address, Deadline deadline);

/// Waits until `socket` is ready for `events` (POLLIN, POLLOUT; an end or an error is ready too), `stop` is notified
/// (it may be null), or `deadline` has passed.
[[nodiscard]] Woken wait_ready(int socket, short events, const WakeEvent* stop, Deadline deadline);

/// A connection to `address`, tuned and not blocking; nothing if `deadline` has passed or `stop` was notified. Of a
/// host with several numbers the first that answers. Throws Error(kUnavailable), naming the address.
[[nodiscard]] Descriptor connect_to(const Address& address, const WakeEvent* stop, Deadline deadline);

}  // namespace virga
