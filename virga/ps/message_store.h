#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "virga/base/shared_bytes.h"
#include "virga/ps/protocol.h"

namespace virga {

/// The messages of one job, by key. Not for several threads.
class MessageStore {
 public:
  struct Entry {
    PsKey key;
    SharedBytes bytes;
  };
  /// What an entry takes beside its bytes, about.
  static constexpr std::uint64_t kEntryOverhead = 192;

  /// Stores all `entries`, or nothing and returns the first key under which other bytes stand. The same bytes again are
  /// no conflict.
  [[nodiscard]] std::optional<PsKey> put(std::vector<Entry> entries);
  /// Null if there is none; valid until the store changes.
  [[nodiscard]] const SharedBytes* find(const PsKey& key) const;
  void retire(const PsRetire& retire);
  void sweep(std::uint32_t view);

  [[nodiscard]] std::uint64_t messages() const noexcept { return messages_.size(); }
  /// Of messages alone.
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
  /// With keys and what else is needed to keep them.
  [[nodiscard]] std::uint64_t memory() const noexcept { return bytes_ + messages_.size() * kEntryOverhead; }

 private:
  using Messages = std::map<PsKey, SharedBytes>;
  void erase(Messages::iterator first, Messages::iterator last);

  Messages messages_;
  std::uint64_t bytes_ = 0;
};

/// The registers of one job, by name. Not for several threads.
class RegisterStore {
 public:
  struct Value {
    std::uint64_t version = 0;
    SharedBytes bytes;
  };

  /// Null if there is none; valid until the store changes.
  [[nodiscard]] const Value* find(std::string_view name) const;
  /// Returns the new version; 0 if `expected` is given and no longer the version.
  [[nodiscard]] std::uint64_t write(std::string_view name, SharedBytes bytes, std::optional<std::uint64_t> expected);
  void remove(std::string_view name);

  [[nodiscard]] bool empty() const noexcept { return values_.empty(); }
  [[nodiscard]] std::uint64_t memory() const noexcept { return memory_; }

 private:
  [[nodiscard]] static std::uint64_t memory_of(std::string_view name, const Value& value) {
    return MessageStore::kEntryOverhead + name.size() + value.bytes.size();
  }

  std::map<std::string, Value, std::less<>> values_;
  std::uint64_t memory_ = 0;
};

}  // namespace virga
