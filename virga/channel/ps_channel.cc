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

std::vector<PsOutgoing> converted(std::span<const Outgoing> messages) {
  std::vector<PsOutgoing> result;
  result.reserve(messages.size());
  for (const auto& message : messages) result.push_back({ps_key(message.key), message.parts});
  return result;
}

std::vector<PsKey> converted(std::span<const MessageKey> keys) {
  std::vector<PsKey> result(keys.size());
  std::ranges::transform(keys, result.begin(), ps_key);
  return result;
}

PsClient::OnArrival hand_on(std::span<const MessageKey> keys, const OnMessage& on_message) {
  return [keys, &on_message](std::size_t index, const SharedBytes& bytes) { on_message(keys[index], bytes); };
}

void throw_if_missing(const Channel& channel, std::span<const MessageKey> keys, std::span<const std::size_t> indices) {
  if (indices.empty()) return;
  std::vector<MessageKey> missing;
  missing.reserve(indices.size());
  for (const auto index : indices) missing.push_back(keys[index]);
  throw_missing(channel, missing);
}

}  // namespace

void PsChannel::put(std::span<const Outgoing> messages, const Wait& wait) { client_->put(converted(messages), wait); }

void PsChannel::get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) {
  throw_if_missing(*this, keys, client_->get(converted(keys), hand_on(keys, on_message), wait));
}

void PsChannel::put_and_get(std::span<const Outgoing> messages, std::span<const MessageKey> keys,
                            const OnMessage& on_message, const Wait& wait) {
  throw_if_missing(*this, keys,
                   client_->put_and_get(converted(messages), converted(keys), hand_on(keys, on_message), wait));
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
