#include "virga/channel/memory_channel.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {
namespace {

SharedBytes joined(const Outgoing& message) {
  return SharedBytes::make(message.bytes(), [&](std::span<std::byte> to) {
    for (const auto& part : message.parts) {
      std::ranges::copy(part, to.begin());
      to = to.subspan(part.size());
    }
  });
}

}  // namespace

void MemoryChannel::put(std::span<const Outgoing> messages, const Wait& wait) {
  if (wait.stop.stop_requested()) throw Error(ErrorKind::kInterrupted, uri_ + ": the put was given up");
  std::vector<SharedBytes> copies;
  for (const auto& message : messages) {
    if (message.bytes() > max_message_bytes_) {
      throw Error(ErrorKind::kTooLarge, fmt::format("{}: a message of {} bytes, but {} is the most: {}", uri_,
                                                    message.bytes(), max_message_bytes_, to_string(message.key)));
    }
    copies.push_back(joined(message));
  }
  {
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < messages.size(); ++i) {
      const auto [at, is_new] = messages_.try_emplace(messages[i].key, copies[i]);
      if (!is_new && !std::ranges::equal(at->second.view(), copies[i].view())) {
        throw Error(ErrorKind::kConflict,
                    fmt::format("{}: other bytes were put before: {}", uri_, to_string(messages[i].key)));
      }
    }
  }
  arrived_.notify_all();
}

void MemoryChannel::get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) {
  std::vector<MessageKey> missing(keys.begin(), keys.end());
  std::vector<std::pair<MessageKey, SharedBytes>> found;
  const auto find = [&] {
    std::erase_if(missing, [&](const MessageKey& key) {
      const auto at = messages_.find(key);
      if (at == messages_.end()) return false;
      found.emplace_back(key, at->second);
      return true;
    });
    return !found.empty();
  };
  while (!missing.empty()) {
    {
      std::unique_lock lock(mutex_);
      (void)arrived_.wait_until(lock, wait.stop, wait.deadline.at(), find);
    }
    if (found.empty()) {
      if (wait.stop.stop_requested()) throw Error(ErrorKind::kInterrupted, uri_ + ": the wait was given up");
      throw_missing(*this, missing);
    }
    for (const auto& [key, bytes] : found) on_message(key, bytes);
    found.clear();
  }
}

std::optional<SharedBytes> MemoryChannel::try_get(const MessageKey& key, const Wait&) {
  const std::lock_guard lock(mutex_);
  const auto at = messages_.find(key);
  if (at == messages_.end()) return std::nullopt;
  return at->second;
}

void MemoryChannel::retire(std::uint32_t view, std::uint32_t group, std::uint32_t source, std::uint64_t round,
                           const Wait&) {
  const std::lock_guard lock(mutex_);
  const auto first = messages_.lower_bound({.view = view, .group = group, .source = source});
  auto last = first;
  while (last != messages_.end() && last->first.view == view && last->first.group == group &&
         last->first.source == source && last->first.round <= round) {
    ++last;
  }
  messages_.erase(first, last);
}

void MemoryChannel::sweep(std::uint32_t view, const Wait&) {
  const std::lock_guard lock(mutex_);
  messages_.erase(messages_.begin(), messages_.lower_bound({.view = view}));
}

ChannelContents MemoryChannel::contents(const Wait&) {
  const std::lock_guard lock(mutex_);
  ChannelContents contents;
  for (const auto& [key, bytes] : messages_) {
    ++contents.messages;
    contents.bytes += bytes.size();
  }
  return contents;
}

}  // namespace virga
