#include "virga/ps/client_connection.h"

#include <algorithm>
#include <cerrno>
#include <system_error>

#include <poll.h>
#include <sys/socket.h>

namespace virga {
namespace {

using namespace std::chrono_literals;

/// In which the answer to a wait that ran out comes back.
constexpr auto kGrace = 250ms;
constexpr std::size_t kMaxVectors = 512;
constexpr auto kRemedy = "check that virga-ps still runs there; if so, try again";

}  // namespace

PsConnection::Turn::Turn(PsConnection& connection, const Wait& wait)
    : connection_(connection), stop_(wait.stop), on_stop_(wait.stop, [&connection] { connection.stop_.notify(); }) {
  connection.deadline_ = Deadline(wait.deadline.at() + kGrace);
  connection.stoppable_ = wait.stop.stop_possible();
}

PsConnection::Turn::~Turn() {
  if (stop_.stop_requested()) connection_.stop_.clear();
}

PsConnection::PsConnection(const Address& address, const PsHello& hello, const Wait& wait)
    : address_(to_string(address)), reader_(kPsMaxHeadBytes) {
  const Turn turn(*this, wait);
  socket_ = connect_to(address, &stop_, deadline_);
  if (!socket_ && wait.stop.stop_requested()) fail(ErrorKind::kInterrupted, "the call was given up");
  if (!socket_) fail(ErrorKind::kDeadlineExceeded, "no connection in time");
  send(hello);
  SharedBytes body;
  static_cast<void>(expect<PsDone>(body));
}

void PsConnection::send(const PsRequest& request) {
  const auto bytes = encode_request(request);
  const ByteView part = bytes;
  send({&part, 1});
}

void PsConnection::send(std::span<const ByteView> parts) {
  in_step_ = false;
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

PsReply PsConnection::receive(SharedBytes& body) {
  while (reader_.feed(buffered_) != FrameReader::Step::kHead) receive_more();
  auto reply = parse_reply(reader_.frame(), reader_.head());
  body = SharedBytes::make(reader_.frame().body_bytes, [this](std::span<std::byte> to) {
    reader_.fill(to);
    while (reader_.feed(buffered_) != FrameReader::Step::kBody) receive_more();
  });
  reader_.next();
  in_step_ = !std::holds_alternative<PsMessage>(reply);
  if (const auto* error = std::get_if<PsError>(&reply)) {
    throw Error(error->kind, address_ + ": " + error->what, error->remedy);
  }
  return reply;
}

void PsConnection::receive_more() {
  if (!more_is_there_) wait_for(POLLIN);
  const auto direct = reader_.unfilled();
  std::array<iovec, 2> vectors = {{{direct.data(), direct.size()}, {buffer_.data(), buffer_.size()}}};
  const auto result = ::readv(socket_.get(), vectors.data(), 2);
  more_is_there_ = false;
  if (result < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (result <= 0) fail_lost(result < 0 ? errno : 0);
  heard_ = true;
  const auto count = static_cast<std::size_t>(result);
  const auto straight = std::min(count, direct.size());
  reader_.filled(straight);
  buffered_ = ByteView(buffer_).first(count - straight);
  more_is_there_ = count == direct.size() + buffer_.size();
}

void PsConnection::wait_for(short events) {
  switch (wait_ready(socket_.get(), events, stoppable_ ? &stop_ : nullptr, deadline_)) {
    case Woken::kReady:
      return;
    case Woken::kStopped:
      fail(ErrorKind::kInterrupted, "the wait was given up");
    case Woken::kDeadline:
      fail(ErrorKind::kDeadlineExceeded, "no answer in time");
  }
}

bool PsConnection::is_stale() const noexcept {
  std::byte byte{};
  return ::recv(socket_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN;
}

void PsConnection::fail(ErrorKind kind, std::string_view what) const {
  throw Error(kind, address_ + ": " + std::string(what));
}

void PsConnection::fail_lost(int error_number) const {
  const auto why = error_number == 0 ? "the store ended the connection"
                                     : "the connection was lost: " + std::generic_category().message(error_number);
  throw Error(ErrorKind::kUnavailable, address_ + ": " + why, kRemedy);
}

void PsConnection::fail_unexpected() const {
  throw Error(ErrorKind::kCorrupt, address_ + ": the store answered something else than was asked",
              "check that a virga-ps of the same release runs there");
}

}  // namespace virga
