#include "virga/channel/chunked_channel.h"

#include <algorithm>
#include <map>
#include <new>
#include <set>
#include <stop_token>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {
namespace {

constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 40;
constexpr unsigned kIndexBits = 20;
static_assert(MessageParts::kMostParts == std::uint32_t{1} << kIndexBits);

std::uint32_t body_bytes_in(const Channel& inner) {
  constexpr std::size_t kMostPartBytes = std::size_t{1} << 30;
  const auto part_bytes = std::min(inner.max_message_bytes(), kMostPartBytes);
  if (part_bytes <= MessageParts::kHeaderBytes) {
    throw Error(ErrorKind::kUsage, fmt::format("{}: messages of {} bytes have no room for parts of larger ones",
                                               inner.uri(), inner.max_message_bytes()));
  }
  return static_cast<std::uint32_t>(part_bytes - MessageParts::kHeaderBytes);
}

/// The inner channel's key of one part of the message under `key`.
MessageKey part_key(MessageKey key, std::uint64_t index) {
  key.part = (key.part << kIndexBits) | static_cast<std::uint32_t>(index);
  return key;
}
MessageKey message_key(MessageKey part) {
  part.part >>= kIndexBits;
  return part;
}
std::uint32_t index_of(const MessageKey& part) { return part.part & (MessageParts::kMostParts - 1); }

void check_key(const Channel& channel, const MessageKey& key) {
  if (key.part < std::uint32_t{1} << (32 - kIndexBits)) return;
  throw Error(ErrorKind::kUsage,
              fmt::format("{}: a part's number is too large to cut it further: {}", channel.uri(), to_string(key)));
}

/// Does `what` with a part; an error says which part it is about.
template <typename What>
auto naming_part(const Channel& channel, const MessageKey& part, const What& what) {
  try {
    return what();
  } catch (const Error& error) {
    throw Error(error.kind(), fmt::format("{}: {}: {}", channel.uri(), error.what(), to_string(part)), error.remedy());
  }
}

/// How the message is cut, by its first part.
MessageParts first_part(ByteView part) {
  const auto parts = decode_header(part, kMostBytes);
  (void)body_of_part(parts, 0, part);  // before memory is taken for what it announces
  return parts;
}

/// A message of which some parts have come.
class Arriving {
 public:
  explicit Arriving(const MessageParts& parts) : parts_(parts), missing_(parts.count()) {
    try {
      bytes_ = SharedBytes::make(parts.message_bytes, [&](std::span<std::byte> to) { to_ = to; });
    } catch (const std::bad_alloc&) {
      throw Error(ErrorKind::kTooLarge, fmt::format("no memory for a message of {} bytes", parts.message_bytes));
    }
  }

  [[nodiscard]] const MessageParts& parts() const noexcept { return parts_; }
  void add(std::uint64_t index, ByteView part) {
    const auto body = body_of_part(parts_, index, part);
    std::ranges::copy(body, to_.subspan(parts_.offset_of(index)).begin());
    --missing_;
  }
  /// None until all parts have come.
  [[nodiscard]] std::optional<SharedBytes> whole() const {
    if (missing_ > 0) return std::nullopt;
    return bytes_;
  }

 private:
  MessageParts parts_;
  std::uint64_t missing_;
  SharedBytes bytes_;
  std::span<std::byte> to_;  // bytes_, while nobody else has them
};

}  // namespace

ChunkedChannel::ChunkedChannel(Channel& inner) : inner_(inner), body_bytes_(body_bytes_in(inner)) {}

std::size_t ChunkedChannel::max_message_bytes() const noexcept {
  return std::min(kMostBytes, std::uint64_t{MessageParts::kMostParts} * body_bytes_);
}

void ChunkedChannel::put(std::span<const Outgoing> messages, const Wait& wait) {
  std::vector<std::array<std::byte, MessageParts::kHeaderBytes>> headers(messages.size());
  std::vector<std::vector<ByteView>> buffers;  // of each part
  std::vector<MessageKey> keys;                // of each part
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const auto& message = messages[i];
    check_key(*this, message.key);
    const MessageParts parts{.message_bytes = message.bytes(), .body_bytes = body_bytes_};
    if (parts.message_bytes > max_message_bytes()) {
      throw Error(ErrorKind::kTooLarge, fmt::format("{}: a message of {} bytes, but {} is the most: {}", uri(),
                                                    parts.message_bytes, max_message_bytes(), to_string(message.key)));
    }
    headers[i] = encode_header(parts);
    PieceCutter cutter(message.parts);
    for (std::uint64_t part = 0; part < parts.count(); ++part) {
      cutter.append(parts.body_bytes_of(part), buffers.emplace_back(1, headers[i]));
      keys.push_back(part_key(message.key, part));
    }
  }
  std::vector<Outgoing> outgoing;
  outgoing.reserve(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) outgoing.push_back({keys[i], buffers[i]});
  inner_.put(outgoing, wait);
}

/// The state of one get(): which parts are wanted, and which messages have come in part.
class ChunkedChannel::Getting {
 public:
  Getting(const ChunkedChannel& channel, std::span<const MessageKey> keys, const OnMessage& on_message)
      : channel_(channel), on_message_(on_message) {
    for (const auto& key : keys) {
      check_key(channel, key);
      missing_.insert(key);
      wanted_.insert(part_key(key, 0));
    }
  }

  [[nodiscard]] bool done() const noexcept { return missing_.empty(); }
  [[nodiscard]] std::vector<MessageKey> wanted() const { return {wanted_.begin(), wanted_.end()}; }
  [[nodiscard]] std::vector<MessageKey> missing() const { return {missing_.begin(), missing_.end()}; }
  /// Has a part, or what the receiver did with it, led to an exception?
  [[nodiscard]] bool refused() const noexcept { return refused_; }

  /// Takes a part. True if parts are wanted now that were not before.
  bool take(const MessageKey& key, ByteView part) {
    refused_ = true;
    const auto of = message_key(key);
    const bool has_more = naming_part(channel_, key, [&] {
      const auto index = index_of(key);
      if (index == 0) arriving_.emplace(of, first_part(part));
      arriving_.at(of).add(index, part);
      return index == 0 && want_the_rest(of);
    });
    wanted_.erase(key);
    const auto at = arriving_.find(of);
    if (const auto bytes = at->second.whole()) {
      arriving_.erase(at);
      missing_.erase(of);
      on_message_(of, *bytes);
    }
    refused_ = false;
    return has_more;
  }

 private:
  bool want_the_rest(const MessageKey& of) {
    const auto count = arriving_.at(of).parts().count();
    for (std::uint64_t i = 1; i < count; ++i) wanted_.insert(part_key(of, i));
    return count > 1;
  }

  const ChunkedChannel& channel_;
  const OnMessage& on_message_;
  std::set<MessageKey> missing_;  // messages that were not handed on
  std::set<MessageKey> wanted_;   // parts
  std::map<MessageKey, Arriving> arriving_;
  bool refused_ = false;
};

void ChunkedChannel::get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) {
  Getting getting(*this, keys, on_message);
  while (!getting.done()) {
    // What the first parts say is wanted as well is asked for by a new call; the old one is given up, not ended, so
    // that it hands over what it has.
    std::stop_source more;
    const std::stop_callback given_up(wait.stop, [&] { more.request_stop(); });
    const auto take = [&](const MessageKey& key, const SharedBytes& part) {
      if (getting.take(key, part.view())) more.request_stop();
    };
    try {
      inner_.get(getting.wanted(), take, {wait.deadline, more.get_token()});
    } catch (const Error& error) {
      if (getting.refused()) throw;
      if (error.kind() == ErrorKind::kDeadlineExceeded) throw_missing(*this, getting.missing());
      if (error.kind() != ErrorKind::kInterrupted || wait.stop.stop_requested()) throw;
    }
  }
}

std::optional<SharedBytes> ChunkedChannel::try_get(const MessageKey& key, const Wait& wait) {
  check_key(*this, key);
  const auto first = inner_.try_get(part_key(key, 0), wait);
  if (!first) return std::nullopt;
  Arriving arriving = naming_part(*this, part_key(key, 0), [&] { return Arriving(first_part(first->view())); });
  arriving.add(0, first->view());
  for (std::uint64_t i = 1; i < arriving.parts().count(); ++i) {
    const auto part = inner_.try_get(part_key(key, i), wait);
    if (!part) return std::nullopt;
    naming_part(*this, part_key(key, i), [&] { arriving.add(i, part->view()); });
  }
  return arriving.whole();
}

void ChunkedChannel::retire(std::uint32_t view, std::uint32_t group, std::uint32_t source, std::uint64_t round,
                            const Wait& wait) {
  inner_.retire(view, group, source, round, wait);
}

void ChunkedChannel::sweep(std::uint32_t view, const Wait& wait) { inner_.sweep(view, wait); }

ChannelContents ChunkedChannel::contents(const Wait& wait) {
  auto contents = inner_.contents(wait);
  contents.bytes -= std::min(contents.bytes, contents.messages * MessageParts::kHeaderBytes);
  return contents;
}

}  // namespace virga
