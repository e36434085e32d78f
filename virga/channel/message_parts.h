#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "virga/base/bytes.h"

namespace virga {

/// How a message is cut into parts (docs/formats/message-parts.md). Every part begins with this header, the same in all
/// parts of a message.
struct MessageParts {
  static constexpr std::size_t kHeaderBytes = 16;
  static constexpr std::uint32_t kMostParts = std::uint32_t{1} << 20;

  std::uint64_t message_bytes = 0;
  std::uint32_t body_bytes = 1;  ///< of the message in each part but the last, which may have fewer; at least 1

  /// At least 1: the first part of an empty message is its header.
  [[nodiscard]] std::uint64_t count() const noexcept {
    return message_bytes == 0 ? 1 : (message_bytes - 1) / body_bytes + 1;
  }
  /// Where the body of this part stands in the message.
  [[nodiscard]] std::uint64_t offset_of(std::uint64_t part) const noexcept { return part * body_bytes; }
  [[nodiscard]] std::size_t body_bytes_of(std::uint64_t part) const noexcept;

  bool operator==(const MessageParts&) const = default;
};

[[nodiscard]] std::array<std::byte, MessageParts::kHeaderBytes> encode_header(const MessageParts& parts);

/// The header of a part. Throws Error(kCorrupt) for bytes that are none, for more than kMostParts parts, or for a
/// message of more than `max_message_bytes`.
[[nodiscard]] MessageParts decode_header(ByteView part, std::uint64_t max_message_bytes);

/// The body of part number `index` of a message that is cut like this. Throws Error(kCorrupt) if the part is of another
/// message, or has another size.
[[nodiscard]] ByteView body_of_part(const MessageParts& parts, std::uint64_t index, ByteView part);

/// Cuts the concatenation of some buffers, which must live as long, from front to back.
class PieceCutter {
 public:
  explicit PieceCutter(std::span<const ByteView> from) : from_(from) {}
  /// Appends views of the next `bytes` bytes; there are so many.
  void append(std::size_t bytes, std::vector<ByteView>& to);

 private:
  std::span<const ByteView> from_;
  std::size_t done_ = 0;  // of the first buffer
};

/// A part's number, where it stands in a name, in hexadecimal digits; none for any other text, and for one that no part
/// has.
[[nodiscard]] std::optional<std::uint64_t> parse_part_number(std::string_view digits) noexcept;

}  // namespace virga
