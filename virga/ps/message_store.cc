#include "virga/ps/message_store.h"

#include <cstring>

namespace virga {
namespace {

bool same(ByteView a, ByteView b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

}  // namespace

std::optional<PsKey> MessageStore::put(std::vector<Entry> entries) {
  std::vector<Messages::iterator> added;
  for (auto& entry : entries) {
    const auto [at, is_new] = messages_.try_emplace(entry.key, entry.bytes);
    if (is_new) {
      added.push_back(at);
      bytes_ += entry.bytes.size();
    } else if (!same(at->second.view(), entry.bytes.view())) {
      for (const auto& undone : added) erase(undone, std::next(undone));
      return entry.key;
    }
  }
  return std::nullopt;
}

const SharedBytes* MessageStore::find(const PsKey& key) const {
  const auto at = messages_.find(key);
  return at == messages_.end() ? nullptr : &at->second;
}

void MessageStore::retire(const PsRetire& retire) {
  const auto first =
      messages_.lower_bound({.view = retire.view, .group = retire.group, .source = retire.source, .round = 0});
  auto last = first;
  while (last != messages_.end() && last->first.view == retire.view && last->first.group == retire.group &&
         last->first.source == retire.source && last->first.round <= retire.round) {
    ++last;
  }
  erase(first, last);
}

void MessageStore::sweep(std::uint32_t view) { erase(messages_.begin(), messages_.lower_bound({.view = view})); }

void MessageStore::erase(Messages::iterator first, Messages::iterator last) {
  for (auto at = first; at != last; ++at) bytes_ -= at->second.size();
  messages_.erase(first, last);
}

const RegisterStore::Value* RegisterStore::find(std::string_view name) const {
  const auto at = values_.find(name);
  return at == values_.end() ? nullptr : &at->second;
}

std::uint64_t RegisterStore::write(std::string_view name, SharedBytes bytes, std::optional<std::uint64_t> expected) {
  auto at = values_.find(name);
  const auto version = at == values_.end() ? 0 : at->second.version;
  if (expected && *expected != version) return 0;
  if (at == values_.end()) {
    at = values_.try_emplace(std::string(name)).first;
  } else {
    memory_ -= memory_of(name, at->second);
  }
  at->second = {.version = version + 1, .bytes = std::move(bytes)};
  memory_ += memory_of(name, at->second);
  return version + 1;
}

void RegisterStore::remove(std::string_view name) {
  const auto at = values_.find(name);
  if (at == values_.end()) return;
  memory_ -= memory_of(name, at->second);
  values_.erase(at);
}

}  // namespace virga
