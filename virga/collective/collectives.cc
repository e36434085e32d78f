#include "virga/collective/collectives.h"

#include "virga/collective/outbox.h"

namespace virga {
namespace {

/// A part of a message, as a message of its own: another owner of all its bytes would keep the header as well.
SharedBytes body_of(const SharedBytes& message, const MessageKey& key) {
  return SharedBytes::copy_of(open_message(message, key, MessageKind::kBytes).body);
}

void put_one(Channel& channel, const Group& group, std::uint64_t round, Phase phase, std::uint32_t destination,
             ByteView bytes, const Wait& wait) {
  Outbox outbox(group);
  outbox.add(round, phase, destination, MessageKind::kBytes, 0, {&bytes, 1});
  outbox.put(channel, wait);
}

}  // namespace

std::vector<SharedBytes> gather(Channel& channel, const Group& group, std::uint64_t round, Phase phase,
                                std::uint32_t root, ByteView bytes, const Wait& wait) {
  if (group.rank != root) {
    put_one(channel, group, round, phase, root, bytes, wait);
    return {};
  }
  std::vector<SharedBytes> all(group.size);
  all[root] = SharedBytes::copy_of(bytes);
  std::vector<MessageKey> keys;
  for (std::uint32_t source = 0; source < group.size; ++source) {
    if (source != root) keys.push_back(message_key(group, round, phase, source, root));
  }
  const auto take = [&](const MessageKey& key, const SharedBytes& message) { all[key.source] = body_of(message, key); };
  if (!keys.empty()) channel.get(keys, take, wait);
  return all;
}

SharedBytes broadcast(Channel& channel, const Group& group, std::uint64_t round, Phase phase, std::uint32_t root,
                      ByteView bytes, const Wait& wait) {
  if (group.rank == root) {
    if (group.size > 1) put_one(channel, group, round, phase, kEverybody, bytes, wait);
    return SharedBytes::copy_of(bytes);
  }
  SharedBytes result;
  const auto key = message_key(group, round, phase, root, kEverybody);
  channel.get(
      {&key, 1}, [&](const MessageKey&, const SharedBytes& message) { result = body_of(message, key); }, wait);
  return result;
}

void barrier(Channel& channel, const Group& group, std::uint64_t round, Phase phase, const Wait& wait) {
  (void)gather(channel, group, round, phase, 0, {}, wait);
  (void)broadcast(channel, group, round, static_cast<Phase>(phase + 1), 0, {}, wait);
}

}  // namespace virga
