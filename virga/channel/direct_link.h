#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <sys/uio.h>

#include "virga/base/shared_bytes.h"
#include "virga/base/view.h"
#include "virga/channel/direct_memory.h"
#include "virga/channel/direct_protocol.h"
#include "virga/net/descriptor.h"

namespace virga {

/// A message that this end has put, for as long as somebody may be owed it.
struct DirectMessage {
  MessageKey key;
  std::uint64_t size = 0;
  std::optional<SharedBytes> bytes;       ///< a copy, if there is one
  std::span<const ByteView> borrowed;     ///< else its parts, of the put() that is under way
  bool is_counted = false;                ///< do its bytes count as memory of the channel?
  std::optional<std::uint32_t> checksum;  ///< of small ones
  std::vector<Member> owed;               ///< who has not taken it yet
};

class DirectLink;

/// What a link does with frames.
class DirectReceiver {
 public:
  DirectReceiver() = default;
  DirectReceiver(const DirectReceiver&) = delete;
  DirectReceiver& operator=(const DirectReceiver&) = delete;
  virtual ~DirectReceiver() = default;

  /// Is the body that comes to be received? Else it is skipped, and take() gets none.
  [[nodiscard]] virtual bool admit(DirectLink& link, const DirectHead& head) = 0;
  virtual void take(DirectLink& link, const DirectHead& head, const std::optional<SharedBytes>& body) = 0;
  /// The other end has received it whole.
  virtual void taken(DirectLink& link, const std::shared_ptr<DirectMessage>& message) = 0;
};

/// One end of a connection between two workers: frames out of memory that is not copied, bodies into memory where they
/// stay. What comes is acted upon by a DirectReceiver. For one thread at a time.
class DirectLink {
 public:
  /// `memory`: for bodies; must outlive the link.
  DirectLink(std::uint64_t id, Descriptor socket, DirectMemory& memory);
  /// The other end is to see the end also when a child of this process still has the socket open.
  ~DirectLink();
  DirectLink(const DirectLink&) = delete;
  DirectLink& operator=(const DirectLink&) = delete;

  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  [[nodiscard]] int socket() const noexcept { return socket_.get(); }

  // Out. Frames are queued; flush() sends them.
  void send(DirectKind kind, const MessageKey& key = {}, Bytes body = {});
  void send(const std::shared_ptr<DirectMessage>& message);
  /// Gives the socket what it takes; false: the connection is over.
  [[nodiscard]] bool flush();
  [[nodiscard]] bool has_output() const noexcept { return !out_.empty(); }
  /// Nothing will be sent after what is queued has been.
  void end_output() noexcept;
  /// Messages that were sent, or are to be, and that the other end has not said to have received, oldest first.
  [[nodiscard]] const std::deque<std::shared_ptr<DirectMessage>>& unacknowledged() const noexcept { return sent_; }

  // In.
  /// Receives what has come, up to some bytes; false: the connection is over. Throws Error(kCorrupt) for what is no
  /// frame, and what the receiver throws; then it is of no use any more.
  [[nodiscard]] bool receive(DirectReceiver& receiver, std::span<std::byte> scratch);
  /// The same with bytes that were received elsewhere.
  void feed(ByteView bytes, DirectReceiver& receiver);
  /// Drops what has come; false: the connection is over.
  [[nodiscard]] bool drain(std::span<std::byte> scratch) const;
  /// Bytes of a message whose body has begun to come and was admitted; 0: none.
  [[nodiscard]] std::uint64_t incoming_bytes() const noexcept { return incoming_; }

 private:
  struct Frame {
    EncodedDirectHead head;
    Bytes body;
    std::shared_ptr<DirectMessage> message;
    [[nodiscard]] std::uint64_t size() const noexcept {
      return kDirectHeadBytes + body.size() + (message ? message->size : 0);
    }
  };
  [[nodiscard]] DirectHead head_of(DirectKind kind, const MessageKey& key, std::size_t body_bytes);
  [[nodiscard]] std::size_t gather(std::span<iovec> vectors) const;
  void begin_body(DirectReceiver& receiver);
  void end_body(DirectReceiver& receiver);

  const std::uint64_t id_;
  Descriptor socket_;
  DirectMemory& memory_;
  std::deque<Frame> out_;
  std::uint64_t offset_ = 0;  // in the first frame
  std::deque<std::shared_ptr<DirectMessage>> sent_;
  std::uint64_t acknowledged_ = 0;  // of all that were ever in sent_

  std::array<std::byte, kDirectHeadBytes> head_bytes_{};
  std::size_t head_filled_ = 0;
  std::optional<DirectHead> head_;   // whole; its body is coming
  std::optional<SharedBytes> body_;  // where that goes; none: nowhere
  std::span<std::byte> unfilled_;    // of body_
  std::uint64_t skip_ = 0;           // of a body that goes nowhere
  std::uint64_t incoming_ = 0;
  std::uint64_t taken_ = 0;  // messages
  std::uint64_t told_ = 0;   // of which the other end knows
  std::uint64_t untold_bytes_ = 0;
};

}  // namespace virga
