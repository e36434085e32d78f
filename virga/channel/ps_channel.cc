#include "virga/channel/ps_channel.h"

#include <algorithm>
#include <vector>

namespace virga {
namespace {

PsKey ps_key(const MessageKey& key) {
  return {.view = key.view,
          .group = key.group,
          .source = key.source,
          .round = key.round,
          .phase = key.phase,
          .destination = key.destination,
          .part = key.part};
}

}  // namespace

void PsChannel::put(std::span<const Outgoing> messages, const Wait& wait) {
  std::vector<PsOutgoing> converted;
  converted.reserve(messages.size());
  for (const auto& message : messages) converted.push_back({ps_key(message.key), message.parts});
  client_->put(converted, wait);
}

void PsChannel::get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) {
  std::vector<PsKey> converted(keys.size());
  std::ranges::transform(keys, converted.begin(), ps_key);
  const auto indices = client_->get(
      converted, [&](std::size_t index, const SharedBytes& bytes) { on_message(keys[index], bytes); }, wait);
  if (indices.empty()) return;
  std::vector<MessageKey> missing;
  missing.reserve(indices.size());
  for (const auto index : indices) missing.push_back(keys[index]);
  throw_missing(*this, missing);
}

std::optional<SharedBytes> PsChannel::try_get(const MessageKey& key, const Wait& wait) {
  return client_->try_get(ps_key(key), wait);
}

void PsChannel::retire(std::uint32_t view, std::uint32_t group, std::uint32_t source, std::uint64_t round,
                       const Wait& wait) {
  client_->retire({.view = view, .group = group, .source = source, .round = round}, wait);
}

void PsChannel::sweep(std::uint32_t view, const Wait& wait) { client_->sweep(view, wait); }

ChannelContents PsChannel::contents(const Wait& wait) {
  const auto stored = client_->contents(wait);
  return {.messages = stored.messages, .bytes = stored.bytes};
}

}  // namespace virga
