#include "virga/collective/outbox.h"

namespace virga {
namespace {

std::uint64_t bytes_of(std::span<const Outgoing> messages) {
  std::uint64_t bytes = 0;
  for (const auto& message : messages) bytes += message.bytes();
  return bytes;
}

}  // namespace

MessageKey message_key(const Group& group, std::uint64_t round, Phase phase, std::uint32_t source,
                       std::uint32_t destination, std::uint32_t part) {
  return {.view = group.view,
          .group = group.id,
          .source = source,
          .round = round,
          .phase = phase,
          .destination = destination,
          .part = part};
}

void Outbox::add(std::uint64_t round, Phase phase, std::uint32_t destination, MessageKind kind, double weight,
                 std::span<const ByteView> body, std::uint32_t part) {
  auto& item = items_.emplace_back();
  item.key = message_key(group_, round, phase, group_.rank, destination, part);
  item.header = encode_header(
      {.kind = kind, .view = group_.view, .generation = group_.generation, .round = round, .weight = weight}, body);
  item.parts.emplace_back(item.header);
  item.parts.insert(item.parts.end(), body.begin(), body.end());
}

std::vector<Outgoing> Outbox::outgoing() const {
  std::vector<Outgoing> messages;
  messages.reserve(items_.size());
  for (const auto& item : items_) messages.push_back({item.key, item.parts});
  return messages;
}

std::uint64_t Outbox::put(Channel& channel, const Wait& wait) {
  const auto messages = outgoing();
  const auto bytes = bytes_of(messages);
  if (!messages.empty()) channel.put(messages, wait);
  items_.clear();
  return bytes;
}

std::uint64_t Outbox::put_and_get(Channel& channel, std::span<const MessageKey> keys, const OnMessage& on_message,
                                  const Wait& wait) {
  const auto messages = outgoing();
  const auto bytes = bytes_of(messages);
  channel.put_and_get(messages, keys, on_message, wait);
  items_.clear();
  return bytes;
}

}  // namespace virga
