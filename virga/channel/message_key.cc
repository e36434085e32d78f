#include "virga/channel/message_key.h"

#include <fmt/format.h>

namespace virga {

void encode_key(const MessageKey& key, ByteWriter& out) {
  out.put(key.view);
  out.put(key.group);
  out.put(key.source);
  out.put(key.round);
  out.put(key.phase);
  out.put(key.destination);
  out.put(key.part);
}

MessageKey decode_key(ByteReader& in) {
  MessageKey key;
  key.view = in.get<std::uint32_t>();
  key.group = in.get<std::uint32_t>();
  key.source = in.get<std::uint32_t>();
  key.round = in.get<std::uint64_t>();
  key.phase = in.get<std::uint16_t>();
  key.destination = in.get<std::uint32_t>();
  key.part = in.get<std::uint32_t>();
  return key;
}

std::string to_string(const MessageKey& key) {
  const auto to = key.destination == kEverybody ? "everybody" : std::to_string(key.destination);
  return fmt::format("view {}, group {}, round {}, phase {}, from {} to {}, part {}", key.view, key.group, key.round,
                     key.phase, key.source, to, key.part);
}

}  // namespace virga
