#include "virga/channel/message.h"

#include <algorithm>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/hash.h"

namespace virga {
namespace {

constexpr std::uint32_t kMagic = 0x47534d56;  // "VMSG"
constexpr std::uint16_t kVersion = 1;
constexpr std::size_t kChecked = kMessageHeaderBytes - sizeof(std::uint32_t);  // all but the checksum itself

[[noreturn]] void throw_corrupt(const MessageKey& key, const std::string& why) {
  throw Error(ErrorKind::kCorrupt, fmt::format("a message is damaged ({}): {}", to_string(key), why),
              "the channel gave other bytes than were put, or two jobs use one channel under the same name");
}

}  // namespace

EncodedHeader encode_header(const MessageHeader& header, std::span<const ByteView> body) {
  std::uint64_t size = 0;
  for (const auto& part : body) size += part.size();
  Bytes bytes;
  ByteWriter out(bytes);
  out.put(kMagic);
  out.put(kVersion);
  out.put(header.kind);
  out.put(header.view);
  out.put(header.generation);
  out.put(header.round);
  out.put(header.weight);
  out.put(size);
  out.put(std::uint32_t{0});
  auto crc = crc32c(bytes);
  for (const auto& part : body) crc = crc32c(part, crc);
  out.put(crc);
  EncodedHeader encoded;
  check(bytes.size() == encoded.size(), "the header has its size");
  std::ranges::copy(bytes, encoded.begin());
  return encoded;
}

OpenedMessage open_message(const SharedBytes& message, const MessageKey& key, MessageKind kind) {
  const auto bytes = message.view();
  if (bytes.size() < kMessageHeaderBytes) throw_corrupt(key, fmt::format("it has {} bytes", bytes.size()));
  ByteReader in(bytes, "the header of a message");
  if (in.get<std::uint32_t>() != kMagic) throw_corrupt(key, "it does not begin as a message does");
  if (const auto version = in.get<std::uint16_t>(); version != kVersion) {
    throw_corrupt(key, fmt::format("it has version {}, this program knows {}", version, kVersion));
  }
  MessageHeader header;
  header.kind = in.get<MessageKind>();
  header.view = in.get<std::uint32_t>();
  header.generation = in.get<std::uint32_t>();
  header.round = in.get<std::uint64_t>();
  header.weight = in.get<double>();
  const auto size = in.get<std::uint64_t>();
  (void)in.get<std::uint32_t>();
  const auto expected_crc = in.get<std::uint32_t>();
  const auto body = in.take(in.remaining());
  if (size != body.size()) throw_corrupt(key, fmt::format("its body has {} bytes, not {}", body.size(), size));
  if (crc32c(body, crc32c(bytes.first(kChecked))) != expected_crc) throw_corrupt(key, "its checksum is wrong");
  if (header.kind != kind || header.view != key.view || header.round != key.round) {
    throw_corrupt(key, "it is another message than its key says");
  }
  return {header, body};
}

}  // namespace virga
