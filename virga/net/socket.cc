#include "virga/net/socket.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>
#include <vector>

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {
namespace {

using namespace std::chrono_literals;

constexpr int kSocketFlags = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
/// Asked for; the system gives what it allows.
constexpr int kUnixBufferBytes = 1 << 20;

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  [[nodiscard]] const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
  [[nodiscard]] int family() const noexcept { return storage.ss_family; }
};

SocketAddress unix_address(const std::string& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  check(path.size() < sizeof(name.sun_path), "a socket's path is too long");
  std::memcpy(name.sun_path, path.data(), path.size());
  SocketAddress address;
  std::memcpy(&address.storage, &name, sizeof(name));
  address.size = sizeof(name);
  return address;
}

/// In the order in which they are to be tried, at least one: IPv4 first, as many a network knows nothing else.
std::vector<SocketAddress> resolve(const Address& address, ErrorKind kind_of_failure) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
  if (error != 0) {
    throw Error(kind_of_failure,
                fmt::format("{}: host {} is not known: {}", to_string(address), address.host, ::gai_strerror(error)),
                "check the name of the host");
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  std::vector<SocketAddress> names;
  for (const auto* one = found; one != nullptr; one = one->ai_next) {
    auto& name = names.emplace_back();
    std::memcpy(&name.storage, one->ai_addr, one->ai_addrlen);
    name.size = one->ai_addrlen;
  }
  std::stable_partition(names.begin(), names.end(), [](const auto& name) { return name.family() == AF_INET; });
  return names;
}

bool is_number(const std::string& host) {
  std::array<std::byte, sizeof(in6_addr)> number{};
  return ::inet_pton(AF_INET, host.c_str(), number.data()) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), number.data()) == 1;
}

bool is_loopback(const SocketAddress& address) {
  if (address.family() == AF_INET) {
    sockaddr_in name{};
    std::memcpy(&name, &address.storage, sizeof(name));
    return (ntohl(name.sin_addr.s_addr) >> 24U) == 127;
  }
  sockaddr_in6 name{};
  std::memcpy(&name, &address.storage, sizeof(name));
  return IN6_IS_ADDR_LOOPBACK(&name.sin6_addr);
}

void set_option(int socket, int level, int option, int value) noexcept {
  static_cast<void>(::setsockopt(socket, level, option, &value, sizeof(value)));
}

/// A hint only: a socket works without. TCP sizes its buffers itself.
void tune(int socket, Address::Kind kind) noexcept {
  if (kind == Address::Kind::kUnix) {
    set_option(socket, SOL_SOCKET, SO_SNDBUF, kUnixBufferBytes);
    return;
  }
  set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, 30);
  set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, 10);
  set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

Error unavailable(const Address& address, int error_number) {
  return {ErrorKind::kUnavailable,
          fmt::format("{}: cannot connect: {}", to_string(address), std::generic_category().message(error_number)),
          "check the address, and that a server runs there"};
}

/// Is nobody behind the socket at `name`, though its file is there?
bool is_abandoned(const SocketAddress& name) {
  const Descriptor probe(::socket(AF_UNIX, kSocketFlags, 0));
  return probe && ::connect(probe.get(), name.get(), name.size) != 0 && errno == ECONNREFUSED;
}

}  // namespace

WakeEvent::WakeEvent() : descriptor_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!descriptor_) throw system_error("cannot create an event", errno);
}

void WakeEvent::notify() const noexcept {
  const std::uint64_t one = 1;
  static_cast<void>(!::write(descriptor_.get(), &one, sizeof(one)));
}

void WakeEvent::clear() const noexcept {
  std::uint64_t count = 0;
  static_cast<void>(!::read(descriptor_.get(), &count, sizeof(count)));
}

Listener::Listener(const Address& address) : address_(address) {
  if (address.kind == Address::Kind::kUnix) {
    listen_on_unix();
  } else {
    listen_on_tcp();
  }
}

Listener::~Listener() {
  struct stat status {};
  if (address_.kind != Address::Kind::kUnix || ::lstat(address_.path.c_str(), &status) != 0) return;
  if (status.st_dev == device_ && status.st_ino == inode_) ::unlink(address_.path.c_str());
}

void Listener::listen_on_unix() {
  const auto name = unix_address(address_.path);
  const auto what = "cannot listen on " + to_string(address_);
  socket_ = Descriptor(::socket(AF_UNIX, kSocketFlags, 0));
  // The mode of the socket, less the mask, becomes that of its file.
  if (!socket_ || ::fchmod(socket_.get(), S_IRUSR | S_IWUSR) != 0) throw system_error(what, errno);
  struct stat status {};
  if (::lstat(address_.path.c_str(), &status) == 0) {
    if (!S_ISSOCK(status.st_mode) || !is_abandoned(name)) {
      throw Error(ErrorKind::kConflict,
                  what + (S_ISSOCK(status.st_mode) ? ": somebody listens there" : ": a file is there"),
                  "choose another path, or remove what is there");
    }
    ::unlink(address_.path.c_str());
  }
  if (::bind(socket_.get(), name.get(), name.size) != 0) throw system_error(what, errno);
  if (::lstat(address_.path.c_str(), &status) == 0) {
    device_ = status.st_dev;
    inode_ = status.st_ino;
  }
  if (::listen(socket_.get(), SOMAXCONN) != 0) throw system_error(what, errno);
}

void Listener::listen_on_tcp() {
  const auto name = resolve(address_, ErrorKind::kUsage)[0];
  is_local_ = is_loopback(name);
  const auto what = "cannot listen on " + to_string(address_);
  socket_ = Descriptor(::socket(name.family(), kSocketFlags, 0));
  if (!socket_) throw system_error(what, errno);
  set_option(socket_.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (::bind(socket_.get(), name.get(), name.size) != 0 || ::listen(socket_.get(), SOMAXCONN) != 0) {
    if (errno == EADDRINUSE) {
      throw Error(ErrorKind::kConflict, what + ": somebody listens there", "choose another port; 0 takes a free one");
    }
    throw system_error(what, errno);
  }
  SocketAddress bound;
  bound.size = sizeof(bound.storage);
  if (::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&bound.storage), &bound.size) != 0) {
    throw system_error(what, errno);
  }
  sockaddr_in port{};  // stands at the same place for IPv6
  std::memcpy(&port, &bound.storage, sizeof(port));
  address_.port = ntohs(port.sin_port);
}

Descriptor Listener::accept() const noexcept {
  Descriptor socket;
  do {
    socket = Descriptor(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  } while (!socket && (errno == ECONNABORTED || errno == EINTR));
  if (socket) tune(socket.get(), address_.kind);
  return socket;
}

Woken wait_ready(int socket, short events, const WakeEvent* stop, Deadline deadline) {
  pollfd waited[] = {{socket, events, 0}, {stop != nullptr ? stop->descriptor() : -1, POLLIN, 0}};
  for (;;) {
    const auto left = deadline.remaining();
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
    const timespec timeout = {.tv_sec = seconds.count(), .tv_nsec = (left - seconds).count()};
    const int ready = ::ppoll(waited, 2, &timeout, nullptr);
    if (ready < 0 && errno != EINTR) throw system_error("cannot wait for a socket", errno);
    if (ready > 0) return waited[1].revents != 0 ? Woken::kStopped : Woken::kReady;
    if (ready == 0) return Woken::kDeadline;
  }
}

namespace {

/// None, and why: 0 if there is no more time for it.
Descriptor connect_to_name(const SocketAddress& name, Address::Kind kind, const WakeEvent* stop, Deadline deadline,
                           int& error) {
  error = 0;
  Descriptor socket(::socket(name.family(), kSocketFlags, 0));
  if (!socket) throw system_error("cannot create a socket", errno);
  tune(socket.get(), kind);
  while (::connect(socket.get(), name.get(), name.size) != 0) {
    if (errno == EAGAIN) {
      // The server's queue is full, and nothing tells when it no longer is.
      const auto woken = wait_ready(-1, 0, stop, std::min(deadline, Deadline::in(5ms)));
      if (woken == Woken::kStopped || deadline.passed()) return {};
    } else if (errno == EINPROGRESS) {
      if (wait_ready(socket.get(), POLLOUT, stop, deadline) != Woken::kReady) return {};
      socklen_t size = sizeof(error);
      ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
      if (error != 0) return {};
      break;
    } else if (errno != EINTR) {
      error = errno;
      return {};
    }
  }
  return socket;
}

}  // namespace

Descriptor connect_to(const Address& address, const WakeEvent* stop, Deadline deadline) {
  const bool is_unix = address.kind == Address::Kind::kUnix;
  const auto names = is_unix ? std::vector{unix_address(address.path)} : resolve(address, ErrorKind::kUnavailable);
  int error = 0;
  for (const auto& name : names) {
    auto socket = connect_to_name(name, address.kind, stop, deadline, error);
    if (socket || error == 0) return socket;
  }
  throw unavailable(address, error);
}

Address numbered(const Address& address, Deadline deadline) {
  if (address.kind == Address::Kind::kUnix || is_number(address.host)) return address;
  const auto socket = connect_to(address, nullptr, deadline);
  if (!socket) throw Error(ErrorKind::kDeadlineExceeded, to_string(address) + ": no connection in time");
  SocketAddress peer;
  peer.size = sizeof(peer.storage);
  std::array<char, INET6_ADDRSTRLEN> host{};
  if (::getpeername(socket.get(), reinterpret_cast<sockaddr*>(&peer.storage), &peer.size) != 0 ||
      ::getnameinfo(peer.get(), peer.size, host.data(), host.size(), nullptr, 0, NI_NUMERICHOST) != 0) {
    throw system_error("cannot learn the number of " + to_string(address), errno);
  }
  auto result = address;
  result.host = host.data();
  return result;
}

}  // namespace virga
