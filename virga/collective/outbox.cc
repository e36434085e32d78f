#include "virga/collective/outbox.h"

namespace virga {

MessageKey message_key(const Group& group, std::uint64_t round, Phase phase, std::uint32_t source,
                       std::uint32_t destination) {
  return {.view = group.view,
          .group = group.id,
          .source = source,
          .round = round,
          .phase = phase,
          .destination = destination,
          .part = 0};
}

void Outbox::add(std::uint64_t round, Phase phase, std::uint32_t destination, MessageKind kind, double weight,
                 std::span<const ByteView> body) {
  auto& item = items_.emplace_back();
  item.key = message_key(group_, round, phase, group_.rank, destination);
  item.header = encode_header(
      {.kind = kind, .view = group_.view, .generation = group_.generation, .round = round, .weight = weight}, body);
  item.parts.emplace_back(item.header);
  item.parts.insert(item.parts.end(), body.begin(), body.end());
}

std::uint64_t Outbox::put(Channel& channel, const Wait& wait) {
  std::vector<Outgoing> messages;
  std::uint64_t bytes = 0;
  for (const auto& item : items_) {
    messages.push_back({item.key, item.parts});
    bytes += messages.back().bytes();
  }
  if (!messages.empty()) channel.put(messages, wait);
  items_.clear();
  return bytes;
}

}  // namespace virga
