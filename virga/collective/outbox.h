#pragma once

#include <deque>
#include <span>
#include <vector>

#include "virga/channel/channel.h"
#include "virga/channel/message.h"
#include "virga/collective/group.h"

namespace virga {

/// The key of a message within `group`.
[[nodiscard]] MessageKey message_key(const Group& group, std::uint64_t round, Phase phase, std::uint32_t source,
                                     std::uint32_t destination, std::uint32_t part = 0);

/// Messages of one member, put together in one call.
class Outbox {
 public:
  explicit Outbox(const Group& group) : group_(group) {}

  /// `body` is borrowed until put().
  void add(std::uint64_t round, Phase phase, std::uint32_t destination, MessageKind kind, double weight,
           std::span<const ByteView> body, std::uint32_t part = 0);

  [[nodiscard]] std::size_t size() const noexcept { return items_.size(); }

  /// Puts all and forgets them. Returns their bytes.
  std::uint64_t put(Channel& channel, const Wait& wait);
  /// Channel::put_and_get() likewise.
  std::uint64_t put_and_get(Channel& channel, std::span<const MessageKey> keys, const OnMessage& on_message,
                            const Wait& wait);

 private:
  struct Item {
    MessageKey key;
    EncodedHeader header;
    std::vector<ByteView> parts;
  };
  [[nodiscard]] std::vector<Outgoing> outgoing() const;

  const Group group_;
  std::deque<Item> items_;  // whose headers do not move
};

}  // namespace virga
