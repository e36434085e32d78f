#include "virga/channel/redis_channel.h"

#include <algorithm>
#include <deque>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "virga/base/crash_point.h"
#include "virga/base/error.h"

namespace virga {
namespace {

using Kind = RespValue::Kind;
using Repeat = RedisClient::Repeat;

/// Longer messages are cut into strings of kPieceBytes: the server copies them while others are on their way, and is
/// never long at one.
constexpr std::size_t kInlineBytes = 64 << 10;
constexpr std::size_t kPieceBytes = 1 << 20;
/// Pieces that are asked for before the first one has come.
constexpr std::size_t kPiecesAhead = 3;
constexpr std::size_t kMostInRequest = 1000;

/// Every message has this ID in its stream, so that there is no second one.
constexpr std::string_view kOnlyId = "1-1";
constexpr std::string_view kBytesField = "b";
constexpr std::string_view kSizeField = "n";

/// ARGV: prefix of messages, first and last name, kInlineBytes, kPieceBytes. Returns how many messages it deleted; who
/// puts in between loses nothing, as no other command runs meanwhile.
constexpr std::string_view kRemoveScript = R"(
local members = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[2], ARGV[3], 'LIMIT', 0, 1000)
local dead = {}
local function unlink(name)
  dead[#dead + 1] = ARGV[1] .. name
  if #dead == 1000 then
    redis.call('UNLINK', unpack(dead))
    dead = {}
  end
end
for _, member in ipairs(members) do
  local name, size = string.match(member, '^([^:]*):(%d+)$')
  unlink(name)
  size = tonumber(size)
  if size > tonumber(ARGV[4]) then
    for piece = 0, math.ceil(size / tonumber(ARGV[5])) - 1 do
      unlink(name .. ':' .. string.format('%d', piece))
    end
  end
end
if #dead > 0 then redis.call('UNLINK', unpack(dead)) end
if #members > 0 then redis.call('ZREM', KEYS[1], unpack(members)) end
return #members
)";
constexpr std::int64_t kRemovedAtOnce = 1000;

std::size_t pieces_of(std::size_t bytes) { return bytes <= kInlineBytes ? 0 : (bytes + kPieceBytes - 1) / kPieceBytes; }
std::size_t size_of_piece(std::size_t bytes, std::size_t number) {
  return std::min(kPieceBytes, bytes - number * kPieceBytes);
}

/// Bytes `first` to `first` + `count` of the concatenation of `parts`.
std::vector<ByteView> cut(std::span<const ByteView> parts, std::size_t first, std::size_t count) {
  std::vector<ByteView> result;
  for (const auto& part : parts) {
    const auto skipped = std::min(first, part.size());
    const auto taken = std::min(count, part.size() - skipped);
    if (taken > 0) result.push_back(part.subspan(skipped, taken));
    first -= skipped;
    count -= taken;
  }
  return result;
}

/// XREAD of `keys` that waits, unless there is no time; or does not.
void add_read(RespRequest& request, const std::vector<std::string_view>& keys, const Wait& wait) {
  const bool blocks = !wait.deadline.passed();
  request.command((blocks ? 4 : 2) + 2 * keys.size()).add("XREAD");
  if (blocks) request.add("BLOCK").add(redis_block_ms(wait));
  request.add("STREAMS");
  for (const auto key : keys) request.add(key);
  for (std::size_t i = 0; i < keys.size(); ++i) request.add("0");
}

/// What a stream holds: the message, or how many bytes its pieces have.
struct Entry {
  SharedBytes bytes;
  std::optional<std::size_t> size_in_pieces;
};

/// Of the only entry of a message's stream, as XRANGE and XREAD answer it; none if it is not one.
std::optional<Entry> parse_entry(RespValue& entries) {
  if (!entries.is(Kind::kArray) || entries.items.size() != 1) return std::nullopt;
  auto& entry = entries.items[0];
  if (!entry.is(Kind::kArray) || entry.items.size() != 2 || entry.items[0].bytes_text() != kOnlyId) return std::nullopt;
  auto& fields = entry.items[1];
  if (!fields.is(Kind::kArray) || fields.items.size() != 2) return std::nullopt;
  const auto field = fields.items[0].bytes_text();
  auto& value = fields.items[1];
  if (!value.is(Kind::kBytes)) return std::nullopt;
  if (field == kBytesField) return Entry{std::move(value.bytes), std::nullopt};
  std::size_t size = 0;
  for (const char digit : value.bytes_text()) {
    if (digit < '0' || digit > '9' || size > (std::size_t{1} << 30)) return std::nullopt;
    size = 10 * size + static_cast<std::size_t>(digit - '0');
  }
  if (field != kSizeField || size <= kInlineBytes || size > (std::size_t{1} << 30)) return std::nullopt;
  return Entry{{}, size};
}

}  // namespace

/// A put of some messages. The index comes before them, so that no message is ever without it.
class RedisChannel::Putting {
 public:
  Putting(const RedisChannel& channel, std::span<const Outgoing> messages)
      : channel_(channel), messages_(messages), doubted_(messages.size(), false) {
    names_.reserve(messages.size());
    for (const auto& message : messages) names_.push_back(redis_name(message.key));
  }

  /// Puts the pieces of long messages, if there are any: a message appears when all of them are there.
  void put_pieces(RedisConnection& connection) {
    if (std::ranges::all_of(messages_, [](const Outgoing& one) { return pieces_of(one.bytes()) == 0; })) return;
    RespRequest request;
    add_index(request);
    for (const auto& message : messages_) {
      for (std::size_t piece = 0; piece < pieces_of(message.bytes()); ++piece) add_piece(request, message, piece);
    }
    connection.send(request);
    receive_index(connection);
    for (std::size_t i = 0; i < messages_.size(); ++i) {
      for (std::size_t piece = 0; piece < pieces_of(messages_[i].bytes()); ++piece) {
        const auto reply = connection.receive();
        if (reply.is(Kind::kNothing)) {
          doubted_[i] = true;
        } else if (!reply.is(Kind::kStatus)) {
          note(connection, reply, put_of(messages_[i]));
        }
      }
    }
    throw_error();
  }

  /// Adds the messages themselves.
  void add_to(RespRequest& request) const {
    add_index(request);
    for (std::size_t i = 0; i < messages_.size(); ++i) {
      const auto& message = messages_[i];
      request.command(5).add("XADD").add(channel_.keys_.messages() + names_[i]).add(kOnlyId);
      const auto bytes = message.bytes();
      if (pieces_of(bytes) == 0) {
        request.add(kBytesField).add(message.parts);
      } else {
        request.add(kSizeField).add(static_cast<std::int64_t>(bytes));
      }
    }
  }

  /// Takes the answers. Those that refuse what is there already are noted.
  void receive(RedisConnection& connection) {
    const bool indexed = receive_index(connection);
    std::vector<std::size_t> stored;
    for (std::size_t i = 0; i < messages_.size(); ++i) {
      const auto reply = connection.receive();
      if (reply.is(Kind::kBytes)) {
        stored.push_back(i);
      } else if (reply.is(Kind::kError) && reply.text.starts_with("ERR The ID")) {
        doubted_[i] = true;
      } else {
        note(connection, reply, put_of(messages_[i]));
      }
    }
    if (!indexed && connection.is_in_step()) take_back(connection, stored);
    throw_error();
  }

  /// Messages that were there already, perhaps with other bytes.
  template <typename Compare>
  void for_doubted(const Compare& compare) const {
    for (std::size_t i = 0; i < messages_.size(); ++i) {
      if (doubted_[i]) compare(messages_[i]);
    }
  }

 private:
  static std::string put_of(const Outgoing& message) { return "put of " + to_string(message.key); }

  void add_index(RespRequest& request) const {
    request.command(2 + 2 * messages_.size()).add("ZADD").add(channel_.keys_.index());
    for (std::size_t i = 0; i < messages_.size(); ++i) {
      request.add("0").add(redis_index_member(names_[i], messages_[i].bytes()));
    }
  }
  void add_piece(RespRequest& request, const Outgoing& message, std::size_t piece) const {
    request.command(4).add("SET").add(channel_.keys_.piece(message.key, piece));
    request.add(cut(message.parts, piece * kPieceBytes, size_of_piece(message.bytes(), piece))).add("NX");
  }
  bool receive_index(RedisConnection& connection) {
    const auto reply = connection.receive();
    if (reply.is(Kind::kInteger)) return true;
    note(connection, reply, put_of(messages_[0]) + ", into the index");
    return false;
  }
  /// What is in no index would stay for ever.
  void take_back(RedisConnection& connection, const std::vector<std::size_t>& stored) const {
    if (stored.empty()) return;
    RespRequest request;
    request.command(1 + stored.size()).add("UNLINK");
    for (const auto i : stored) request.add(channel_.keys_.message(messages_[i].key));
    connection.send(request);
    static_cast<void>(connection.receive());
  }

  void note(const RedisConnection& connection, const RespValue& reply, const std::string& what) {
    if (error_) return;
    try {
      connection.fail(reply, what);
    } catch (const Error& error) {
      error_ = error;
    }
  }
  /// Once all answers are here: the connection can be used on.
  void throw_error() const {
    if (error_) throw Error(*error_);
  }

  const RedisChannel& channel_;
  const std::span<const Outgoing> messages_;
  std::vector<std::string> names_;  // of messages_
  std::vector<bool> doubted_;
  std::optional<Error> error_;  // the first
};

/// A get. The server is always asked for what comes next before what has come is handed over.
class RedisChannel::Getting {
 public:
  Getting(const RedisChannel& channel, std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait)
      : channel_(channel), keys_(keys), on_message_(on_message), wait_(wait), has_come_(keys.size(), false) {
    names_.reserve(keys.size());
    for (std::size_t i = 0; i < keys.size(); ++i) {
      missing_.emplace(names_.emplace_back(channel.keys_.message(keys[i])), i);
    }
  }

  /// The wait for what has not come: the last command of a request, as it holds up what comes after it.
  void add_to(RespRequest& request) {
    std::vector<std::string_view> names;
    names.reserve(missing_.size());
    for (std::size_t i = 0; i < keys_.size() && names.size() < kMostInRequest; ++i) {
      if (!has_come_[i]) names.emplace_back(names_[i]);
    }
    add_read(request, names, wait_);
    waits_ = true;
  }

  /// Takes the answer to the wait, and goes on until all is here.
  void receive(RedisConnection& connection) {
    for (;;) {
      auto reply = connection.receive();
      waits_ = false;
      if (reply.is(Kind::kNothing)) {
        if (wait_.deadline.passed()) throw_missing(channel_, missing());
      } else {
        sort(connection, reply);
      }
      ask_for_more(connection);
      for (auto& [index, bytes] : std::exchange(whole_, {})) on_message_(keys_[index], bytes);
      while (!large_.empty()) receive_large(connection);
      if (missing_.empty()) return;
    }
  }

  [[nodiscard]] std::vector<MessageKey> missing() const {
    std::vector<MessageKey> keys;
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      if (!has_come_[i]) keys.push_back(keys_[i]);
    }
    return keys;
  }

 private:
  /// A message that is fetched in pieces.
  struct Large {
    std::size_t index = 0;
    std::size_t bytes = 0;
    std::size_t asked = 0;  // pieces
  };

  /// Into those that are whole and those that must be fetched.
  void sort(RedisConnection& connection, RespValue& reply) {
    if (!reply.is(Kind::kArray)) connection.fail(reply, "a wait for messages");
    for (auto& stream : reply.items) {
      if (!stream.is(Kind::kArray) || stream.items.size() != 2) connection.fail(stream, "a wait for messages");
      const auto found = missing_.find(stream.items[0].bytes_text());
      if (found == missing_.end()) connection.fail(stream, "a wait for messages");
      const auto index = found->second;
      auto entry = parse_entry(stream.items[1]);
      if (!entry) connection.fail(stream, to_string(keys_[index]));
      missing_.erase(found);
      has_come_[index] = true;
      if (entry->size_in_pieces) {
        large_.push_back({.index = index, .bytes = *entry->size_in_pieces});
      } else {
        whole_.emplace_back(index, std::move(entry->bytes));
      }
    }
  }

  /// As many pieces as may be under way; then, when all are asked for, the next wait.
  void ask_for_more(RedisConnection& connection) {
    RespRequest request;
    for (auto& message : large_) {
      for (; message.asked < pieces_of(message.bytes) && under_way_ < kPiecesAhead; ++message.asked, ++under_way_) {
        request.command({"GET", channel_.keys_.piece(keys_[message.index], message.asked)});
      }
    }
    const bool all = large_.empty() || large_.back().asked == pieces_of(large_.back().bytes);
    if (all && !waits_ && !missing_.empty()) add_to(request);
    if (request.commands() > 0) connection.send(request);
  }

  void receive_large(RedisConnection& connection) {
    const auto message = large_.front();
    const auto bytes = SharedBytes::make(message.bytes, [&](std::span<std::byte> to) {
      for (std::size_t piece = 0; piece < pieces_of(message.bytes); ++piece) {
        const auto size = size_of_piece(message.bytes, piece);
        const auto reply = connection.receive_into(to.subspan(piece * kPieceBytes, size));
        if (!reply.is(Kind::kBytes) || static_cast<std::size_t>(reply.integer) != size) {
          connection.fail(reply, fmt::format("piece {} of {}", piece, to_string(keys_[message.index])));
        }
        --under_way_;
        ask_for_more(connection);
      }
    });
    large_.pop_front();
    on_message_(keys_[message.index], bytes);
  }

  const RedisChannel& channel_;
  const std::span<const MessageKey> keys_;
  const OnMessage& on_message_;
  const Wait& wait_;
  std::vector<std::string> names_;                             // of keys_
  std::unordered_map<std::string_view, std::size_t> missing_;  // index by name
  std::vector<bool> has_come_;
  std::vector<std::pair<std::size_t, SharedBytes>> whole_;  // have come, but are not handed over
  std::deque<Large> large_;
  std::size_t under_way_ = 0;  // pieces
  bool waits_ = false;         // is the wait asked for, and not answered?
};

void RedisChannel::check_sizes(std::span<const Outgoing> messages) const {
  for (const auto& message : messages) {
    if (message.bytes() <= max_message_bytes()) continue;
    throw Error(ErrorKind::kTooLarge, fmt::format("{}: a message of {} bytes, but {} is the most: {}", uri(),
                                                  message.bytes(), max_message_bytes(), to_string(message.key)));
  }
}

void RedisChannel::put(std::span<const Outgoing> messages, const Wait& wait) {
  check_sizes(messages);
  for (; !messages.empty(); messages = messages.subspan(std::min(messages.size(), kMostInRequest))) {
    const auto some = messages.first(std::min(messages.size(), kMostInRequest));
    client_->call(wait, Repeat::kOnce, [&](RedisConnection& connection) {
      Putting putting(*this, some);
      putting.put_pieces(connection);
      RespRequest request;
      putting.add_to(request);
      connection.send(request);
      putting.receive(connection);
      putting.for_doubted([&](const Outgoing& message) { compare(message, wait); });
    });
  }
}

void RedisChannel::get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) {
  if (keys.empty()) return;
  client_->call(wait, Repeat::kOnce, [&](RedisConnection& connection) {
    Getting getting(*this, keys, on_message, wait);
    RespRequest request;
    getting.add_to(request);
    connection.send(request);
    getting.receive(connection);
  });
}

void RedisChannel::put_and_get(std::span<const Outgoing> messages, std::span<const MessageKey> keys,
                               const OnMessage& on_message, const Wait& wait) {
  if (messages.empty() || keys.empty() || messages.size() > kMostInRequest) {
    put(messages, wait);
    return get(keys, on_message, wait);
  }
  check_sizes(messages);
  client_->call(wait, Repeat::kOnce, [&](RedisConnection& connection) {
    Putting putting(*this, messages);
    Getting getting(*this, keys, on_message, wait);
    putting.put_pieces(connection);
    RespRequest request;
    putting.add_to(request);
    getting.add_to(request);
    connection.send(request);
    crash_point("after_put");
    crash_point("before_get");
    putting.receive(connection);
    putting.for_doubted([&](const Outgoing& message) { compare(message, wait); });
    getting.receive(connection);
  });
}

void RedisChannel::compare(const Outgoing& message, const Wait& wait) {
  const auto there = try_get(message.key, wait);
  if (!there) return;  // retired meanwhile: a twin was faster
  auto rest = there->view();
  bool same = rest.size() == message.bytes();
  for (const auto& part : message.parts) {
    same = same && std::ranges::equal(part, rest.first(part.size()));
    if (same) rest = rest.subspan(part.size());
  }
  if (same) return;
  if (there->size() != message.bytes()) {
    RespRequest request;
    request.command({"ZREM", keys_.index(), redis_index_member(redis_name(message.key), message.bytes())});
    static_cast<void>(client_->ask(request, "the index of messages", wait));
  }
  throw Error(ErrorKind::kConflict,
              fmt::format("{}: other bytes are there already: {}", uri(), to_string(message.key)));
}

std::optional<SharedBytes> RedisChannel::try_get(const MessageKey& key, const Wait& wait) {
  std::optional<SharedBytes> bytes;
  RespRequest request;
  request.command({"XRANGE", keys_.message(key), kOnlyId, kOnlyId});
  auto reply = client_->ask(request, "get of " + to_string(key), wait);
  if (reply.is(Kind::kArray) && reply.items.empty()) return std::nullopt;
  const auto entry = parse_entry(reply);
  if (!entry) throw Error(ErrorKind::kCorrupt, fmt::format("{}: this is no message: {}", uri(), to_string(key)));
  if (!entry->size_in_pieces) return entry->bytes;
  // It is there, so this does not wait for others.
  get(
      {&key, 1}, [&](const MessageKey&, const SharedBytes& got) { bytes = got; }, wait);
  return bytes;
}

void RedisChannel::remove(const RedisRange& range, const Wait& wait) {
  RespRequest request;
  request.command({"EVAL", kRemoveScript, "1", keys_.index(), keys_.messages(), range.from, range.to,
                   std::to_string(kInlineBytes), std::to_string(kPieceBytes)});
  for (;;) {
    const auto reply = client_->ask(request, "deletion of messages", wait);
    if (!reply.is(Kind::kInteger) || reply.integer < kRemovedAtOnce) return;
  }
}

void RedisChannel::retire(std::uint32_t view, std::uint32_t group, std::uint32_t source, std::uint64_t round,
                          const Wait& wait) {
  remove(redis_rounds(view, group, source, round), wait);
}

void RedisChannel::sweep(std::uint32_t view, const Wait& wait) { remove(redis_views_before(view), wait); }

ChannelContents RedisChannel::contents(const Wait& wait) {
  RespRequest request;
  request.command({"ZRANGE", keys_.index(), "0", "-1"});
  const auto reply = client_->ask(request, "the index of messages", wait);
  ChannelContents contents;
  for (const auto& member : reply.items) {
    ++contents.messages;
    contents.bytes += redis_indexed_bytes(member.bytes_text());
  }
  return contents;
}

}  // namespace virga
