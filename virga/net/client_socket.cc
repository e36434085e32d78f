#include "virga/net/client_socket.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

#include <poll.h>
#include <sys/socket.h>

#include "virga/base/error.h"

namespace virga {
namespace {

using namespace std::chrono_literals;

/// In which the answer to a wait that ran out comes back.
constexpr auto kGrace = 250ms;
constexpr std::size_t kMaxVectors = 512;

}  // namespace

ClientSocket::Turn::Turn(ClientSocket& socket, const Wait& wait)
    : socket_(socket), stop_(wait.stop), on_stop_(wait.stop, [&socket] { socket.stop_.notify(); }) {
  socket.deadline_ = Deadline(wait.deadline.at() + kGrace);
  socket.stoppable_ = wait.stop.stop_possible();
}

ClientSocket::Turn::~Turn() {
  if (stop_.stop_requested()) socket_.stop_.clear();
}

void ClientSocket::connect(const Address& address) {
  socket_ = connect_to(address, stoppable_ ? &stop_ : nullptr, deadline_);
  if (socket_) return;
  if (deadline_.passed()) fail(ErrorKind::kDeadlineExceeded, "no connection in time");
  fail(ErrorKind::kInterrupted, "the call was given up");
}

void ClientSocket::send(std::span<const ByteView> parts) {
  heard_ = false;
  vectors_.clear();
  for (const auto& part : parts) {
    // The system only reads what is sent, but takes it by a pointer that could write.
    if (!part.empty()) vectors_.push_back({const_cast<std::byte*>(part.data()), part.size()});
  }
  for (std::span<iovec> left = vectors_; !left.empty();) {
    msghdr message{};
    message.msg_iov = left.data();
    message.msg_iovlen = std::min(left.size(), kMaxVectors);
    const auto result = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
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
  if (!more_is_there_) wait_for(POLLIN);
  std::array<iovec, 2> vectors = {{{first.data(), first.size()}, {second.data(), second.size()}}};
  const auto result = ::readv(socket_.get(), vectors.data(), 2);
  more_is_there_ = false;
  if (result < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  if (result <= 0) fail_lost(result < 0 ? errno : 0);
  heard_ = true;
  const auto count = static_cast<std::size_t>(result);
  more_is_there_ = count == first.size() + second.size();
  return count;
}

void ClientSocket::wait_for(short events) {
  switch (wait_ready(socket_.get(), events, stoppable_ ? &stop_ : nullptr, deadline_)) {
    case Woken::kReady:
      return;
    case Woken::kStopped:
      fail(ErrorKind::kInterrupted, "the wait was given up");
    case Woken::kDeadline:
      fail(ErrorKind::kDeadlineExceeded, "no answer in time");
  }
}

bool ClientSocket::is_stale() const noexcept {
  std::byte byte{};
  return ::recv(socket_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN;
}

void ClientSocket::fail(ErrorKind kind, std::string_view what) const {
  throw Error(kind, name_ + ": " + std::string(what));
}

void ClientSocket::fail_lost(int error_number) const {
  const auto why = error_number == 0 ? "the store ended the connection"
                                     : "the connection was lost: " + std::generic_category().message(error_number);
  throw Error(ErrorKind::kUnavailable, name_ + ": " + why, remedy_);
}

}  // namespace virga
