#include "virga/channel/polled_channel.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/hash.h"
#include "virga/channel/message_name.h"

namespace virga {

void PolledChannel::check_size(const Outgoing& message) const {
  if (message.bytes() <= max_message_bytes()) return;
  throw Error(ErrorKind::kTooLarge, fmt::format("{}: a message of {} bytes, but {} is the most: {}", uri(),
                                                message.bytes(), max_message_bytes(), to_string(message.key)));
}

void PolledChannel::put(std::span<const Outgoing> messages, const Wait& wait) {
  for (const auto& message : messages) check_size(message);
  throw_if_stopped(uri(), wait);
  std::vector<MessageBin::Value> values;
  values.reserve(messages.size());
  for (const auto& message : messages) values.push_back({message_name(message.key), message.parts});
  remember(messages);  // before: a put that fails may have taken place
  bin_->put(values, wait);
}

void PolledChannel::remember(std::span<const Outgoing> messages) {
  std::vector<Digest> digests;
  digests.reserve(messages.size());
  for (const auto& message : messages) {
    Digest digest;
    if (!bin_->sees_conflicts()) {
      for (const auto& part : message.parts) digest = {digest.bytes + part.size(), crc32c(part, digest.crc)};
    }
    digests.push_back(digest);
  }
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const auto& key = messages[i].key;
    if (mine_.try_emplace(key, digests[i]).first->second == digests[i]) continue;
    throw Error(ErrorKind::kConflict, fmt::format("{}: other bytes were put before: {}", uri(), to_string(key)));
  }
}

/// The state of one get(): what is missing.
class PolledChannel::Getting {
 public:
  Getting(MessageBin& bin, std::span<const MessageKey> keys) : bin_(bin), keys_(keys.begin(), keys.end()) {
    for (const auto& key : keys_) names_.push_back(message_name(key));
  }

  [[nodiscard]] std::span<const MessageKey> missing() const noexcept { return keys_; }
  /// Has the receiver thrown?
  [[nodiscard]] bool refused() const noexcept { return refused_; }

  /// Looks once; true if something came. What came is not missing any more, even if the look fails.
  bool look(const OnMessage& on_message, const Wait& wait) {
    std::vector<bool> came(keys_.size());
    const auto take = [&](std::size_t index, const SharedBytes& bytes) {
      refused_ = true;
      on_message(keys_[index], bytes);
      refused_ = false;
      came[index] = true;
    };
    try {
      bin_.fetch(names_, take, wait);
    } catch (...) {
      forget(came);
      throw;
    }
    return forget(came);
  }

 private:
  bool forget(const std::vector<bool>& came) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      if (came[i]) continue;
      if (kept != i) {
        keys_[kept] = keys_[i];
        names_[kept] = std::move(names_[i]);
      }
      ++kept;
    }
    const bool any = kept < keys_.size();
    keys_.resize(kept);
    names_.resize(kept);
    return any;
  }

  MessageBin& bin_;
  std::vector<MessageKey> keys_;
  std::vector<std::string> names_;  // of keys_
  bool refused_ = false;
};

void PolledChannel::get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) {
  Getting getting(*bin_, keys);
  if (keys.empty()) return;
  Polling polling(wait, bin_->pace());
  auto next_check = Deadline::in(bin_->check_every());
  for (;;) {
    try {
      if (getting.look(on_message, wait)) polling.restart();
      if (getting.missing().empty()) return;
      polls_ += getting.missing().size();
      if (next_check.passed()) {
        bin_->check_kept(some_of_mine(), wait);
        next_check = Deadline::in(bin_->check_every());
      }
    } catch (const Error& error) {
      if (getting.refused() || error.kind() != ErrorKind::kDeadlineExceeded) throw;
      if (getting.missing().empty()) return;
      throw_missing(*this, getting.missing(), error.what());
    }
    throw_if_stopped(uri(), wait);
    if (!polling.pause()) break;
  }
  throw_if_stopped(uri(), wait);
  throw_missing(*this, getting.missing());
}

std::vector<std::string> PolledChannel::some_of_mine() {
  constexpr std::size_t kMost = 16;
  std::vector<std::string> names;
  const std::lock_guard lock(mutex_);
  for (auto at = mine_.begin(); at != mine_.end() && names.size() < kMost; ++at) {
    names.push_back(message_name(at->first));
  }
  return names;
}

std::optional<SharedBytes> PolledChannel::try_get(const MessageKey& key, const Wait& wait) {
  const auto name = message_name(key);
  std::optional<SharedBytes> found;
  bin_->fetch(
      {&name, 1}, [&](std::size_t, const SharedBytes& bytes) { found = bytes; }, wait);
  return found;
}

void PolledChannel::retire(std::uint32_t view, std::uint32_t group, std::uint32_t source, std::uint64_t round,
                           const Wait& wait) {
  std::vector<MessageKey> over;
  {
    const std::lock_guard lock(mutex_);
    for (auto at = mine_.lower_bound({.view = view, .group = group, .source = source}); at != mine_.end(); ++at) {
      const auto& key = at->first;
      if (key.view != view || key.group != group || key.source != source || key.round > round) break;
      over.push_back(key);
    }
  }
  if (over.empty()) return;
  std::vector<std::string> names;
  names.reserve(over.size());
  for (const auto& key : over) names.push_back(message_name(key));
  bin_->remove(names, wait);
  // Only now: what could not be removed is retired again.
  const std::lock_guard lock(mutex_);
  for (const auto& key : over) mine_.erase(key);
}

void PolledChannel::sweep(std::uint32_t view, const Wait& wait) {
  std::vector<std::string> names;
  const auto take = [&](std::string_view name, std::uint64_t) {
    if (const auto key = parse_message_name(name); key && key->view < view) names.emplace_back(name);
  };
  bin_->list(view_name(view), take, wait);
  if (!names.empty()) bin_->remove(names, wait);
  bin_->swept(view_name(view), wait);
  const std::lock_guard lock(mutex_);
  mine_.erase(mine_.begin(), mine_.lower_bound({.view = view}));
}

ChannelContents PolledChannel::contents(const Wait& wait) {
  ChannelContents contents;
  const auto count = [&](std::string_view name, std::uint64_t bytes) {
    if (!parse_message_name(name)) return;
    ++contents.messages;
    contents.bytes += bytes;
  };
  bin_->list({}, count, wait);
  return contents;
}

}  // namespace virga
