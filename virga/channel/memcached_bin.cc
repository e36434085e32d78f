#include "virga/channel/memcached_bin.h"

#include <algorithm>
#include <array>
#include <deque>
#include <new>
#include <utility>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/channel/message_parts.h"

namespace virga {
namespace {

using namespace std::chrono_literals;

/// For a key of any length, and what Memcached keeps beside a value (about 60 bytes).
constexpr std::size_t kItemOverheadBytes = 512;
constexpr std::uint64_t kMostMessageBytes = std::uint64_t{1} << 32;
/// What stands beside a value: 0 for a message.
constexpr std::uint32_t kHeadFlags = 1;
constexpr std::uint32_t kPartFlags = 2;

std::size_t value_bytes_in(const MemcachedLimits& limits, const std::string& uri) {
  if (limits.item_bytes > kItemOverheadBytes) {
    return std::min(limits.item_bytes - kItemOverheadBytes, std::size_t{1} << 30);
  }
  throw Error(ErrorKind::kUnsupported, fmt::format("{}: items of {} bytes are too small", uri, limits.item_bytes),
              "start Memcached with larger items (-I)");
}

bool is_joined(ByteView whole, std::span<const ByteView> parts) {
  for (const auto& part : parts) {
    if (part.size() > whole.size() || !std::ranges::equal(part, whole.first(part.size()))) return false;
    whole = whole.subspan(part.size());
  }
  return whole.empty();
}

}  // namespace

/// Cuts values into items, which refer to it and to the values.
class MemcachedBin::Cutting {
 public:
  explicit Cutting(const MemcachedBin& bin) : bin_(bin) {}
  Cutting(const Cutting&) = delete;
  Cutting& operator=(const Cutting&) = delete;

  /// Returns how many parts there are.
  std::uint64_t add(const Value& value) {
    const auto bytes = value.bytes();
    if (bytes <= bin_.item_bytes_) {
      items_.push_back({.key = bin_.key_of(value.name), .parts = value.parts, .bytes = bytes});
      return 0;
    }
    const MessageParts cut{.message_bytes = bytes, .body_bytes = static_cast<std::uint32_t>(bin_.item_bytes_)};
    PieceCutter cutter(value.parts);
    for (std::uint64_t part = 0; part < cut.count(); ++part) {
      auto& pieces = pieces_.emplace_back();
      cutter.append(cut.body_bytes_of(part), pieces);
      items_.push_back({bin_.key_of_part(value.name, part), pieces, cut.body_bytes_of(part), kPartFlags});
    }
    // Last: who finds it finds the parts.
    auto& head = heads_.emplace_back();
    head.bytes = encode_header(cut);
    head.part = head.bytes;
    items_.push_back({bin_.key_of(value.name), {&head.part, 1}, head.bytes.size(), kHeadFlags});
    return cut.count();
  }
  [[nodiscard]] std::span<const MemcachedClient::Item> items() const noexcept { return items_; }

 private:
  struct Head {
    std::array<std::byte, MessageParts::kHeaderBytes> bytes;
    ByteView part;
  };
  const MemcachedBin& bin_;
  std::vector<MemcachedClient::Item> items_;
  std::deque<std::vector<ByteView>> pieces_;
  std::deque<Head> heads_;
};

MemcachedBin::MemcachedBin(std::shared_ptr<MemcachedClient> client, std::string_view job)
    : client_(std::move(client)),
      prefix_(memcached_key('m', job, "")),
      item_bytes_(value_bytes_in(client_->limits(), client_->uri())),
      state_(client_->state({Deadline::in(10s)})) {}

std::size_t MemcachedBin::max_value_bytes() const noexcept {
  return std::min<std::uint64_t>(kMostMessageBytes, std::uint64_t{MessageParts::kMostParts} * item_bytes_);
}

std::string MemcachedBin::key_of_part(std::string_view name, std::uint64_t part) const {
  return fmt::format("{}{}+{:x}", prefix_, name, part);
}

std::vector<std::string> MemcachedBin::keys_of(std::span<const std::string> names) const {
  std::vector<std::string> keys;
  keys.reserve(names.size());
  for (const auto& name : names) keys.push_back(key_of(name));
  return keys;
}

void MemcachedBin::put(std::span<const Value> values, const Wait& wait) {
  Cutting cutting(*this);
  for (const auto& value : values) {
    const auto parts = cutting.add(value);
    if (parts == 0) continue;
    const std::lock_guard lock(mutex_);
    parts_of_[value.name] = parts;
  }
  // What is taken may have been removed when it is looked at.
  constexpr int kMostAttempts = 10;
  auto left = put_once(cutting.items(), wait);
  for (int attempt = 1; !left.empty() && attempt < kMostAttempts; ++attempt) left = put_once(left, wait);
  if (left.empty()) return;
  throw Error(ErrorKind::kUnavailable, fmt::format("{}: {} is stored and removed all the time", uri(), left[0].key));
}

std::vector<MemcachedClient::Item> MemcachedBin::put_once(std::span<const MemcachedClient::Item> items,
                                                          const Wait& wait) {
  std::vector<MemcachedClient::Item> left;
  std::vector<std::string> keys;
  for (const auto index : client_->add(items, wait)) {
    left.push_back(items[index]);
    keys.push_back(items[index].key);
  }
  if (left.empty()) return left;
  std::vector<bool> same(left.size());
  const auto compare = [&](std::size_t index, const SharedBytes& bytes, std::uint32_t flags) {
    if (flags != left[index].flags || !is_joined(bytes.view(), left[index].parts)) {
      throw Error(ErrorKind::kConflict, fmt::format("{}: other bytes were put before: {}", uri(), keys[index]));
    }
    same[index] = true;
  };
  client_->fetch(keys, compare, wait);
  std::size_t index = 0;
  std::erase_if(left, [&](const MemcachedClient::Item&) { return same[index++]; });
  return left;
}

void MemcachedBin::fetch(std::span<const std::string> names, const OnValue& on_value, const Wait& wait) {
  std::vector<std::pair<std::size_t, SharedBytes>> heads;
  client_->fetch(
      keys_of(names),
      [&](std::size_t index, const SharedBytes& bytes, std::uint32_t flags) {
        if (flags == 0) return on_value(index, bytes);
        if (flags != kHeadFlags) {
          throw Error(ErrorKind::kCorrupt, fmt::format("{}: {} is no message", uri(), names[index]));
        }
        heads.emplace_back(index, bytes);
      },
      wait);
  for (const auto& [index, head] : heads) {
    if (const auto bytes = fetch_parts(names[index], head.view(), wait)) on_value(index, *bytes);
  }
}

/// None if parts are gone: it is being removed, or Memcached threw them out, which check_kept() will tell.
std::optional<SharedBytes> MemcachedBin::fetch_parts(const std::string& name, ByteView head, const Wait& wait) {
  const auto cut = decode_header(head, kMostMessageBytes);
  std::vector<std::string> keys;
  for (std::uint64_t part = 0; part < cut.count(); ++part) keys.push_back(key_of_part(name, part));
  std::size_t came = 0;
  const auto fill = [&](std::span<std::byte> to) {
    std::vector<std::span<std::byte>> places;
    for (std::uint64_t part = 0; part < cut.count(); ++part) {
      places.push_back(to.subspan(cut.offset_of(part), cut.body_bytes_of(part)));
    }
    came = client_->fetch_into(keys, places, wait);
  };
  try {
    auto bytes = SharedBytes::make(cut.message_bytes, fill);
    if (came < keys.size()) return std::nullopt;
    return bytes;
  } catch (const std::bad_alloc&) {
    throw Error(ErrorKind::kTooLarge, fmt::format("{}: no memory for a message of {} bytes", uri(), cut.message_bytes));
  }
}

void MemcachedBin::remove(std::span<const std::string> names, const Wait& wait) {
  // Heads first: who finds none looks for no parts.
  auto keys = keys_of(names);
  {
    const std::lock_guard lock(mutex_);
    for (const auto& name : names) {
      const auto at = parts_of_.find(name);
      if (at == parts_of_.end()) continue;
      for (std::uint64_t part = 0; part < at->second; ++part) keys.push_back(key_of_part(name, part));
    }
  }
  client_->remove(keys, wait);
  const std::lock_guard lock(mutex_);
  for (const auto& name : names) parts_of_.erase(name);
}

void MemcachedBin::list(std::string_view before, const OnName& on_name, const Wait& wait) {
  std::vector<std::string> keys;
  client_->list(
      [&](std::string_view key) {
        if (!key.starts_with(prefix_)) return;
        const auto name = key.substr(prefix_.size());
        if (before.empty() || name < before) keys.emplace_back(key);
      },
      wait);
  struct Found {
    std::uint64_t bytes = 0;       // of the value under the name itself
    std::uint64_t part_bytes = 0;  // of all parts
    std::uint64_t parts = 0;
  };
  std::map<std::string, Found> found;
  client_->sizes(
      keys,
      [&](std::size_t index, std::uint64_t bytes) {
        const auto name = std::string_view(keys[index]).substr(prefix_.size());
        const auto plus = name.find('+');
        if (plus == std::string_view::npos) {
          found[std::string(name)].bytes = bytes;
        } else if (const auto part = parse_part_number(name.substr(plus + 1))) {
          auto& whole = found[std::string(name.substr(0, plus))];
          whole.part_bytes += bytes;
          whole.parts = std::max(whole.parts, *part + 1);
        }
      },
      wait);
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, value] : found) {
      if (value.parts > 0) parts_of_[name] = value.parts;
    }
  }
  for (const auto& [name, value] : found) on_name(name, value.parts > 0 ? value.part_bytes : value.bytes);
}

void MemcachedBin::check_kept(std::span<const std::string> names, const Wait& wait) {
  const auto now = client_->state(wait);
  MemcachedState before;
  {
    const std::lock_guard lock(mutex_);
    before = std::exchange(state_, now);
  }
  constexpr std::uint64_t kClockSlack = 2;  // seconds
  const bool same_start = now.started <= before.started + kClockSlack && before.started <= now.started + kClockSlack;
  if (now.process != before.process || !same_start) {
    throw Error(ErrorKind::kUnavailable, uri() + ": Memcached was restarted, and has lost its messages",
                "see why it ended; the work goes on from the newest checkpoint");
  }
  constexpr auto kRemedy =
      "start Memcached with -M, so that it refuses what is too much instead, with more memory (-m), and let it serve "
      "nothing else";
  if (now.evictions > before.evictions) {
    throw Error(ErrorKind::kTooLarge,
                fmt::format("{}: Memcached is full, and has thrown out {} items: messages may be among them", uri(),
                            now.evictions - before.evictions),
                kRemedy);
  }
  std::size_t kept = 0;
  client_->sizes(
      keys_of(names), [&](std::size_t, std::uint64_t) { ++kept; }, wait);
  if (kept < names.size()) {
    throw Error(ErrorKind::kTooLarge,
                fmt::format("{}: {} messages that were put are gone: Memcached has thrown them out, or somebody else "
                            "has removed them",
                            uri(), names.size() - kept),
                kRemedy);
  }
}

}  // namespace virga
