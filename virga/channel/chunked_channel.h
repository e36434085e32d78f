#pragma once

#include "virga/channel/channel.h"
#include "virga/channel/message_parts.h"

namespace virga {

/// Cuts messages that are too large for another channel, which must outlive it, into parts that it takes
/// (docs/formats/message-parts.md). All who share the inner channel must go through such an object, but their inner
/// channels may differ in max_message_bytes(); those that put the same message may not. A message appears when its last
/// part has.
///
/// MessageKey::part must be below 4096 (and is 0, usually): parts of the inner channel's are numbered from part << 20.
/// A received message is copied once, from its parts. get() asks the inner channel again for the rest of the messages
/// whose first parts have shown that they have more. contents() counts parts as messages, as it cannot tell; its bytes
/// are exact.
///
/// Throws Error as Channel does; kUsage for a larger MessageKey::part, kCorrupt for parts that make no message.
class ChunkedChannel final : public Channel {
 public:
  /// Throws Error(kUsage) if the inner channel's messages have no room for a part: 17 bytes.
  explicit ChunkedChannel(Channel& inner);

  void put(std::span<const Outgoing> messages, const Wait& wait) override;
  void get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) override;
  [[nodiscard]] std::optional<SharedBytes> try_get(const MessageKey& key, const Wait& wait) override;
  void retire(std::uint32_t view, std::uint32_t group, std::uint32_t source, std::uint64_t round,
              const Wait& wait) override;
  void sweep(std::uint32_t view, const Wait& wait) override;
  [[nodiscard]] ChannelContents contents(const Wait& wait) override;
  /// 2^40, or 2^20 parts if that is less.
  [[nodiscard]] std::size_t max_message_bytes() const noexcept override;
  [[nodiscard]] PaidRequests paid() const override { return inner_.paid(); }
  [[nodiscard]] const std::string& uri() const noexcept override { return inner_.uri(); }

 private:
  class Getting;

  Channel& inner_;
  const std::uint32_t body_bytes_;  // of a part that is put
};

}  // namespace virga
