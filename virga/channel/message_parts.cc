#include "virga/channel/message_parts.h"

#include <algorithm>
#include <charconv>
#include <system_error>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/hash.h"

namespace virga {
namespace {

constexpr std::size_t kCrcAt = 12;

[[noreturn]] void refuse(const std::string& why) { throw Error(ErrorKind::kCorrupt, "a part of a message: " + why); }

}  // namespace

std::size_t MessageParts::body_bytes_of(std::uint64_t part) const noexcept {
  return static_cast<std::size_t>(std::min<std::uint64_t>(body_bytes, message_bytes - offset_of(part)));
}

std::array<std::byte, MessageParts::kHeaderBytes> encode_header(const MessageParts& parts) {
  Bytes bytes;
  ByteWriter out(bytes);
  out.put(parts.message_bytes);
  out.put(parts.body_bytes);
  out.put(crc32c(bytes));
  std::array<std::byte, MessageParts::kHeaderBytes> header{};
  std::ranges::copy(bytes, header.begin());
  return header;
}

MessageParts decode_header(ByteView part, std::uint64_t max_message_bytes) {
  ByteReader in(part, "a part of a message");
  MessageParts parts;
  parts.message_bytes = in.get<std::uint64_t>();
  parts.body_bytes = in.get<std::uint32_t>();
  if (in.get<std::uint32_t>() != crc32c(part.first(kCrcAt))) refuse("its header is damaged");
  if (parts.body_bytes == 0) refuse("its header says that parts are empty");
  if (parts.message_bytes > max_message_bytes || parts.count() > MessageParts::kMostParts) {
    refuse(fmt::format("its header says that the message has {} bytes, in parts of {}", parts.message_bytes,
                       parts.body_bytes));
  }
  return parts;
}

ByteView body_of_part(const MessageParts& parts, std::uint64_t index, ByteView part) {
  if (decode_header(part, parts.message_bytes) != parts) refuse("its header differs from that of the first part");
  const auto body = part.subspan(MessageParts::kHeaderBytes);
  const auto expected = parts.body_bytes_of(index);
  if (body.size() != expected) {
    refuse(fmt::format("{} bytes came of part {}, but it has {}", body.size(), index, expected));
  }
  return body;
}

void PieceCutter::append(std::size_t bytes, std::vector<ByteView>& to) {
  while (bytes > 0) {
    const auto rest = from_.front().subspan(done_);
    const auto piece = rest.first(std::min(bytes, rest.size()));
    if (!piece.empty()) to.push_back(piece);
    bytes -= piece.size();
    done_ += piece.size();
    if (piece.size() == rest.size()) {
      from_ = from_.subspan(1);
      done_ = 0;
    }
  }
}

std::optional<std::uint64_t> parse_part_number(std::string_view digits) noexcept {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number, 16);
  if (error != std::errc() || end != digits.data() + digits.size() || number >= MessageParts::kMostParts) {
    return std::nullopt;
  }
  return number;
}

}  // namespace virga
