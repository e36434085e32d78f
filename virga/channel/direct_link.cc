#include "virga/channel/direct_link.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <sys/socket.h>

#include "virga/base/error.h"

namespace virga {
namespace {

constexpr std::size_t kMaxVectors = 64;
/// Of the system's buffer, in which a large message waits: with more, it would leave the processor's caches on its way,
/// and rounds of 50 MB took a quarter more time in the system.
constexpr int kSendBytes = 256 << 10;
/// What one link may move before the others have their turn.
constexpr std::size_t kTurnBytes = std::size_t{4} << 20;
/// Messages are said to have been received once so many are, or so many bytes: the other end keeps copies until then.
constexpr std::uint64_t kMostUntold = 64;
constexpr std::uint64_t kMostUntoldBytes = 64 << 10;

}  // namespace

DirectLink::DirectLink(std::uint64_t id, Descriptor socket, DirectMemory& memory)
    : id_(id), socket_(std::move(socket)), memory_(memory) {
  static_cast<void>(::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUF, &kSendBytes, sizeof(kSendBytes)));
}

DirectLink::~DirectLink() {
  if (socket_) ::shutdown(socket_.get(), SHUT_RDWR);
}

DirectHead DirectLink::head_of(DirectKind kind, const MessageKey& key, std::size_t body_bytes) {
  told_ = taken_;
  untold_bytes_ = 0;
  return {.kind = kind, .body_bytes = static_cast<std::uint32_t>(body_bytes), .taken = taken_, .key = key};
}

void DirectLink::send(DirectKind kind, const MessageKey& key, Bytes body) {
  const auto head = encode_direct_head(head_of(kind, key, body.size()));
  out_.push_back({head, std::move(body), nullptr});
}

void DirectLink::send(const std::shared_ptr<DirectMessage>& message) {
  const auto head = head_of(DirectKind::kMessage, message->key, message->size);
  out_.push_back({encode_direct_head(head), {}, message});
  sent_.push_back(message);
}

std::size_t DirectLink::gather(std::span<iovec> vectors) const {
  std::size_t used = 0;
  auto offset = offset_;
  const auto add = [&](ByteView part) {
    const auto skipped = std::min<std::uint64_t>(offset, part.size());
    offset -= skipped;
    if (skipped == part.size() || used == vectors.size()) return;
    // The system only reads what is sent, but takes it by a pointer that could write.
    vectors[used++] = {const_cast<std::byte*>(part.data()) + skipped, part.size() - skipped};
  };
  for (const auto& frame : out_) {
    add(frame.head);
    add(frame.body);
    if (frame.message && frame.message->bytes) {
      add(frame.message->bytes->view());
    } else if (frame.message) {
      for (const auto& part : frame.message->borrowed) add(part);
    }
    if (used == vectors.size()) break;
  }
  return used;
}

bool DirectLink::flush() {
  std::array<iovec, kMaxVectors> vectors;
  for (std::size_t moved = 0; !out_.empty() && moved < kTurnBytes;) {
    msghdr message{};
    message.msg_iov = vectors.data();
    message.msg_iovlen = gather(vectors);
    const auto result = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
    if (result < 0 && errno == EINTR) continue;
    if (result < 0) return errno == EAGAIN;
    moved += static_cast<std::size_t>(result);
    offset_ += static_cast<std::uint64_t>(result);
    for (; !out_.empty() && offset_ >= out_.front().size(); out_.pop_front()) offset_ -= out_.front().size();
  }
  return true;
}

void DirectLink::end_output() noexcept { ::shutdown(socket_.get(), SHUT_WR); }

bool DirectLink::receive(DirectReceiver& receiver, std::span<std::byte> scratch) {
  for (std::size_t moved = 0; moved < kTurnBytes;) {
    const auto straight = unfilled_;
    std::array<iovec, 2> vectors = {{{straight.data(), straight.size()}, {scratch.data(), scratch.size()}}};
    const auto result = ::readv(socket_.get(), vectors.data(), 2);
    if (result < 0 && errno == EINTR) continue;
    if (result < 0) return errno == EAGAIN;
    if (result == 0) return false;
    const auto count = static_cast<std::size_t>(result);
    moved += count;
    const auto filled = std::min(count, straight.size());
    unfilled_ = unfilled_.subspan(filled);
    if (filled > 0 && unfilled_.empty()) end_body(receiver);
    feed(scratch.first(count - filled), receiver);
    if (count < straight.size() + scratch.size()) return true;  // no more had come
  }
  return true;
}

void DirectLink::feed(ByteView bytes, DirectReceiver& receiver) {
  while (!bytes.empty()) {
    if (!head_) {
      const auto count = std::min(bytes.size(), kDirectHeadBytes - head_filled_);
      std::memcpy(&head_bytes_[head_filled_], bytes.data(), count);
      head_filled_ += count;
      bytes = bytes.subspan(count);
      if (head_filled_ == kDirectHeadBytes) begin_body(receiver);
      continue;
    }
    const auto filled = std::min(bytes.size(), unfilled_.size());
    if (filled > 0) std::memcpy(unfilled_.data(), bytes.data(), filled);
    unfilled_ = unfilled_.subspan(filled);
    const auto skipped = std::min<std::uint64_t>(bytes.size() - filled, skip_);
    skip_ -= skipped;
    bytes = bytes.subspan(filled + skipped);
    if (unfilled_.empty() && skip_ == 0) end_body(receiver);
  }
}

void DirectLink::begin_body(DirectReceiver& receiver) {
  head_filled_ = 0;
  head_ = parse_direct_head(head_bytes_);
  if (head_->taken > acknowledged_ + sent_.size()) {
    throw Error(ErrorKind::kCorrupt, "another worker says to have received more messages than were sent to it");
  }
  for (; acknowledged_ < head_->taken; ++acknowledged_) {
    const auto message = std::move(sent_.front());
    sent_.pop_front();
    receiver.taken(*this, message);
  }
  body_.reset();
  if (receiver.admit(*this, *head_)) {
    if (head_->kind == DirectKind::kMessage) incoming_ = head_->body_bytes;
    body_ = memory_.take(head_->body_bytes, unfilled_);
  } else {
    skip_ = head_->body_bytes;
  }
  if (head_->body_bytes == 0) end_body(receiver);
}

void DirectLink::end_body(DirectReceiver& receiver) {
  const auto head = *head_;
  const auto body = std::move(body_);
  head_.reset();
  body_.reset();
  incoming_ = 0;
  if (head.kind == DirectKind::kMessage) {
    ++taken_;
    untold_bytes_ += head.body_bytes;
  }
  receiver.take(*this, head, body);
  if (taken_ - told_ >= kMostUntold || untold_bytes_ >= kMostUntoldBytes) send(DirectKind::kTaken);
}

bool DirectLink::drain(std::span<std::byte> scratch) const {
  for (;;) {
    const auto result = ::recv(socket_.get(), scratch.data(), scratch.size(), 0);
    if (result < 0 && errno == EINTR) continue;
    if (result <= 0) return result < 0 && errno == EAGAIN;
  }
}

}  // namespace virga
