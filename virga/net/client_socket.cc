#include "virga/net/client_socket.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include "virga/base/error.h"

namespace virga {
namespace {

using namespace std::chrono_literals;

/// In which the answer to a wait that ran out comes back.
constexpr auto kGrace = 250ms;
constexpr std::size_t kMaxVectors = 512;
/// After which a blocking receiver looks at its deadline.
constexpr auto kTick = 1s;

/// Has receivers of `socket` block, for a tick each time.
bool make_blocking(int socket) noexcept {
  const timeval tick = {.tv_sec = kTick.count(), .tv_usec = 0};
  if (::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof(tick)) != 0) return false;
  const int flags = ::fcntl(socket, F_GETFL);
  return flags >= 0 && ::fcntl(socket, F_SETFL, flags & ~O_NONBLOCK) == 0;
}

// One buffer goes to the system without a list of buffers, which it would copy.
ssize_t send_some(int socket, std::span<iovec> vectors) noexcept {
  constexpr int kFlags = MSG_NOSIGNAL | MSG_DONTWAIT;
  if (vectors.size() == 1) return ::send(socket, vectors[0].iov_base, vectors[0].iov_len, kFlags);
  msghdr message{};
  message.msg_iov = vectors.data();
  message.msg_iovlen = vectors.size();
  return ::sendmsg(socket, &message, kFlags);
}
ssize_t receive_some(int socket, std::span<std::byte> first, std::span<std::byte> second, int flags) noexcept {
  if (first.empty()) return ::recv(socket, second.data(), second.size(), flags);
  std::array<iovec, 2> vectors = {{{first.data(), first.size()}, {second.data(), second.size()}}};
  msghdr message{};
  message.msg_iov = vectors.data();
  message.msg_iovlen = vectors.size();
  return ::recvmsg(socket, &message, flags);
}

}  // namespace

ClientSocket::Turn::Turn(ClientSocket& socket, const Wait& wait)
    : socket_(socket), on_stop_(std::in_place, wait.stop, [&socket] { socket.give_up(); }) {
  socket.deadline_ = Deadline(wait.deadline.at() + kGrace);
  socket.stoppable_ = wait.stop.stop_possible();
}

ClientSocket::Turn::~Turn() {
  on_stop_.reset();  // first, or what is given up at this moment would stop the turn after this one
  if (socket_.given_up_.exchange(false)) socket_.stop_.clear();
}

void ClientSocket::give_up() noexcept {
  given_up_ = true;
  stop_.notify();
  const int socket = blocking_;
  if (socket >= 0) ::shutdown(socket, SHUT_RDWR);
}

void ClientSocket::connect(const Address& address, std::shared_ptr<TlsClient> tls) {
  socket_ = connect_to(address, stoppable_ ? &stop_ : nullptr, deadline_);
  if (socket_ && tls) return shake_hands(std::move(tls));
  if (socket_ && make_blocking(socket_.get())) blocking_ = socket_.get();
  if (socket_) return;
  if (deadline_.passed()) fail(ErrorKind::kDeadlineExceeded, "no connection in time");
  fail(ErrorKind::kInterrupted, "the call was given up");
}

template <typename Use>
auto ClientSocket::over_tls(const Use& use) {
  try {
    return use(tls_);
  } catch (const Error& error) {
    throw Error(error.kind(), name_ + ": " + error.what(), error.remedy());
  }
}

void ClientSocket::shake_hands(std::shared_ptr<TlsClient> tls) {
  over_tls([&](auto& stream) -> void { stream.emplace(std::move(tls), socket_.get()); });
  for (;;) {
    const auto next = over_tls([](auto& stream) { return stream->shake_hands(); });
    if (next == TlsStream::Next::kDone) return;
    const auto woken = ready(next == TlsStream::Next::kAwaitReadable ? POLLIN : POLLOUT);
    if (woken == Woken::kStopped) fail(ErrorKind::kInterrupted, "the call was given up");
    if (woken == Woken::kReady) continue;
    throw Error(ErrorKind::kDeadlineExceeded, name_ + ": TLS: no end of the handshake in time",
                "check that the server speaks TLS at this port, or allow more time");
  }
}

void ClientSocket::send_over_tls(std::span<const ByteView> parts) {
  std::vector<ByteView> all(parts.begin(), parts.end());
  for (std::span<ByteView> left = all; !left.empty();) {
    auto moved = over_tls([&](auto& stream) { return stream->write(left); });
    if (moved.next != TlsStream::Next::kDone) {
      wait_for(moved.next == TlsStream::Next::kAwaitReadable ? POLLIN : POLLOUT);
      continue;
    }
    for (; !left.empty() && moved.count >= left[0].size(); left = left.subspan(1)) moved.count -= left[0].size();
    if (moved.count > 0) left[0] = left[0].subspan(moved.count);
  }
}

std::size_t ClientSocket::receive_over_tls(std::span<std::byte> to) {
  if (!std::exchange(more_is_there_, false)) wait_for(POLLIN);
  const auto moved = over_tls([&](auto& stream) { return stream->read(to); });
  if (moved.next == TlsStream::Next::kAwaitReadable) return 0;
  if (moved.next == TlsStream::Next::kAwaitWritable) {
    wait_for(POLLOUT);
  } else if (moved.count == 0) {
    fail_lost(0);
  } else {
    heard_ = true;
  }
  more_is_there_ = moved.next == TlsStream::Next::kAwaitWritable || tls_->has_pending();
  return moved.count;
}

void ClientSocket::send(std::span<const ByteView> parts) {
  heard_ = false;
  if (tls_) return send_over_tls(parts);
  vectors_.clear();
  for (const auto& part : parts) {
    // The system only reads what is sent, but takes it by a pointer that could write.
    if (!part.empty()) vectors_.push_back({const_cast<std::byte*>(part.data()), part.size()});
  }
  for (std::span<iovec> left = vectors_; !left.empty();) {
    const auto result = send_some(socket_.get(), left.first(std::min(left.size(), kMaxVectors)));
    if (result < 0 && errno == EAGAIN) {
      wait_for(POLLOUT);
      continue;
    }
    if (result < 0 && errno == EINTR) continue;
    if (result < 0) fail_lost(errno);
    auto sent = static_cast<std::size_t>(result);
    for (; !left.empty() && sent >= left[0].iov_len; left = left.subspan(1)) sent -= left[0].iov_len;
    if (sent > 0) left[0] = {static_cast<std::byte*>(left[0].iov_base) + sent, left[0].iov_len - sent};
  }
}

std::size_t ClientSocket::receive(std::span<std::byte> first, std::span<std::byte> second) {
  if (tls_) return receive_over_tls(first.empty() ? second : first);
  // A receiver that blocks saves a call of the system for each message, but does not see to its deadline.
  const bool blocks = !more_is_there_ && blocking_ >= 0 && deadline_.remaining() > kTick;
  if (!blocks && !more_is_there_) wait_for(POLLIN);
  if (blocks && given_up_) fail_given_up();
  const auto result = receive_some(socket_.get(), first, second, blocks ? 0 : MSG_DONTWAIT);
  more_is_there_ = false;
  if (result < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  if (result <= 0) fail_lost(result < 0 ? errno : 0);
  heard_ = true;
  const auto count = static_cast<std::size_t>(result);
  more_is_there_ = count == first.size() + second.size();
  return count;
}

Woken ClientSocket::ready(short events) {
  return wait_ready(socket_.get(), events, stoppable_ ? &stop_ : nullptr, deadline_);
}

void ClientSocket::wait_for(short events) {
  switch (ready(events)) {
    case Woken::kReady:
      return;
    case Woken::kStopped:
      fail_given_up();
    case Woken::kDeadline:
      fail(ErrorKind::kDeadlineExceeded, "no answer in time");
  }
}

bool ClientSocket::is_stale() const noexcept {
  if (tls_) return !tls_->is_quiet();
  std::byte byte{};
  return ::recv(socket_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN;
}

void ClientSocket::fail(ErrorKind kind, std::string_view what) const {
  throw Error(kind, name_ + ": " + std::string(what));
}

void ClientSocket::fail_given_up() const { fail(ErrorKind::kInterrupted, "the wait was given up"); }

void ClientSocket::fail_lost(int error_number) const {
  if (given_up_) fail_given_up();
  const auto why = error_number == 0 ? "the store ended the connection"
                                     : "the connection was lost: " + std::generic_category().message(error_number);
  throw Error(ErrorKind::kUnavailable, name_ + ": " + why, remedy_);
}

}  // namespace virga
