#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "virga/base/shared_bytes.h"
#include "virga/channel/message_key.h"

namespace virga {

enum class MessageKind : std::uint16_t { kBytes = 1, kContribution = 2, kSum = 3 };

/// What stands before the body of every message (docs/formats/message.md).
struct MessageHeader {
  MessageKind kind = MessageKind::kBytes;
  std::uint32_t view = 0;
  std::uint32_t generation = 0;  ///< of the sender
  std::uint64_t round = 0;
  double weight = 0;
  bool operator==(const MessageHeader&) const = default;
};

/// A multiple of 16, so that a body's numbers are aligned as they are within it.
constexpr std::size_t kMessageHeaderBytes = 48;
using EncodedHeader = std::array<std::byte, kMessageHeaderBytes>;

/// The header of a message whose body is the concatenation of `body`; it holds its length and checksum.
[[nodiscard]] EncodedHeader encode_header(const MessageHeader& header, std::span<const ByteView> body);

struct OpenedMessage {
  MessageHeader header;
  ByteView body;  ///< lives as long as the message
};

/// Throws Error(kCorrupt), naming `key`, unless the message is whole and its header is that of `kind`, the key's view
/// and the key's round.
[[nodiscard]] OpenedMessage open_message(const SharedBytes& message, const MessageKey& key, MessageKind kind);

}  // namespace virga
