#include "virga/channel/memcached_client.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/channel/memcached_connection.h"
#include "virga/channel/pause.h"
#include "virga/net/http.h"
#include "virga/net/sigv4.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using ReplyKind = MemcachedReply::Kind;

constexpr std::string_view kMemcachedScheme = "memcached:";
constexpr auto kOpeningTime = 10s;
/// Connections that are kept for later.
constexpr std::size_t kMostIdle = 16;
/// Commands that go out before their answers are read: so few that answers which nobody reads yet, and commands which
/// the server does not read before they are, both fit into the buffers of a socket.
constexpr std::size_t kMostAtOnce = 128;

/// Calls `with(first, items)` for consecutive runs of `all` of at most kMostAtOnce.
template <typename T, typename With>
void for_some_at_once(std::span<const T> all, const With& with) {
  for (std::size_t first = 0; first < all.size(); first += kMostAtOnce) {
    with(first, all.subspan(first, std::min(kMostAtOnce, all.size() - first)));
  }
}

/// Of the commands that go out together all but the last are quiet: only what says something is answered. The answer to
/// the last one is the end.
std::string_view quiet(std::size_t index, std::size_t count) { return index + 1 < count ? " q" : ""; }

/// The index that an answer brings back.
std::size_t index_in(const MemcachedReply& reply, std::size_t count, const MemcachedConnection& connection) {
  if (!reply.opaque || *reply.opaque >= count) connection.fail_unexpected();
  return static_cast<std::size_t>(*reply.opaque);
}

using Stats = std::map<std::string, std::string, std::less<>>;

Stats ask_stats(MemcachedConnection& connection, std::string_view command) {
  connection.send(command);
  Stats stats;
  for (;;) {
    const auto& reply = connection.receive();
    if (reply.kind == ReplyKind::kEnd) break;
    if (reply.kind != ReplyKind::kStat) connection.fail_unexpected();
    const auto space = reply.text.find(' ');
    if (space == std::string_view::npos) continue;
    stats.emplace(reply.text.substr(0, space), reply.text.substr(space + 1));
  }
  connection.done();
  return stats;
}

std::uint64_t number_in(const Stats& stats, std::string_view name, const MemcachedConnection& connection) {
  const auto at = stats.find(name);
  std::uint64_t number = 0;
  if (at == stats.end()) connection.fail_unexpected();
  const auto& digits = at->second;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size()) connection.fail_unexpected();
  return number;
}

std::string encoded_or_digest(std::string_view text, std::size_t most) {
  auto encoded = percent_encode(text, /*keep_slash=*/true);
  return encoded.size() <= most ? encoded : "#" + sha256_hex(text);
}

}  // namespace

Address parse_memcached_uri(std::string_view uri) {
  const auto malformed = [&](ErrorKind kind, std::string_view why) {
    // What stands before an '@' may be a secret.
    const auto shown = uri.find('@') == std::string_view::npos ? uri.substr(0, 200) : kMemcachedScheme;
    return Error(kind, fmt::format("\"{}\" is no address of a Memcached: {}", shown, why),
                 "write memcached://HOST:PORT or memcached:unix:/PATH");
  };
  auto where = uri.substr(std::min(uri.size(), kMemcachedScheme.size()));
  if (uri.starts_with(kMemcachedScheme) && where.starts_with("unix:")) return parse_address(where);
  if (!uri.starts_with(kMemcachedScheme) || !where.starts_with("//")) {
    throw malformed(ErrorKind::kUsage, "it does not begin with memcached://");
  }
  where.remove_prefix(2);
  if (where.find('@') != std::string_view::npos) {
    throw malformed(ErrorKind::kUsage, "a password does not belong there, but into the variable VIRGA_CHANNEL_TOKEN");
  }
  if (where.find(',') != std::string_view::npos) {
    throw malformed(ErrorKind::kUnsupported, "several servers are not supported");
  }
  if (where.ends_with('/')) where.remove_suffix(1);
  if (where.empty() || where.find_first_of("/?#") != std::string_view::npos) {
    throw malformed(ErrorKind::kUsage, "a host and a port are all that it has");
  }
  const bool has_port =
      where.starts_with('[') ? where.find("]:") != std::string_view::npos : where.find(':') != std::string_view::npos;
  return parse_address(fmt::format("tcp:{}{}", where, has_port ? "" : ":11211"));
}

std::string memcached_key(char kind, std::string_view job, std::string_view name) {
  constexpr std::size_t kMostJobBytes = 100;
  const auto prefix = fmt::format("{}:{}:", kind, encoded_or_digest(job, kMostJobBytes));
  return prefix + encoded_or_digest(name, MemcachedClient::kMostKeyBytes - prefix.size());
}

MemcachedClient::MemcachedClient(std::string_view uri, std::string token)
    : uri_(uri), address_(parse_memcached_uri(uri)), token_(std::move(token)), limits_(ask_limits()) {}

MemcachedClient::~MemcachedClient() = default;

template <typename Exchange>
auto MemcachedClient::call(const Wait& wait, Repeat repeat, const Exchange& exchange) {
  throw_if_stopped(uri_, wait);
  auto connection = take_idle();
  while (repeat == Repeat::kNever && connection && connection->socket().is_stale()) connection = take_idle();
  for (bool is_new = false;; connection.reset()) {
    if (!connection) {
      is_new = true;
      connection = connect(wait);
    }
    try {
      auto result = [&] {
        const MemcachedConnection::Turn turn(connection->socket(), wait);
        return exchange(*connection);
      }();
      give_back(std::move(connection));
      return result;
    } catch (const Error& error) {
      // A connection that the server had ended while it was idle.
      const bool again = error.kind() == ErrorKind::kUnavailable && !is_new && !connection->socket().has_heard();
      if (!again || repeat == Repeat::kNever) throw;
    }
  }
}

MemcachedLimits MemcachedClient::ask_limits() {
  return call({Deadline::in(kOpeningTime)}, Repeat::kNever, [](MemcachedConnection& connection) {
    const auto stats = ask_stats(connection, "stats settings\r\n");
    const auto says = [&](std::string_view name, std::string_view value) {
      const auto at = stats.find(name);
      return at != stats.end() && at->second == value;
    };
    if (says("cas_enabled", "no")) {
      throw Error(ErrorKind::kUnsupported, connection.uri() + ": this Memcached was started without versions (-C)",
                  "start Memcached without -C");
    }
    return MemcachedLimits{.item_bytes = number_in(stats, "item_size_max", connection),
                           .evicts = !says("evictions", "off")};
  });
}

std::unique_ptr<MemcachedConnection> MemcachedClient::connect(const Wait& wait) const {
  return std::make_unique<MemcachedConnection>(address_, uri_, token_, wait);
}

std::unique_ptr<MemcachedConnection> MemcachedClient::take_idle() {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return nullptr;
  auto connection = std::move(idle_.back());
  idle_.pop_back();
  return connection;
}

void MemcachedClient::give_back(std::unique_ptr<MemcachedConnection> connection) {
  if (!connection->is_in_step()) return;
  const std::lock_guard lock(mutex_);
  if (idle_.size() < kMostIdle) idle_.push_back(std::move(connection));
}

std::vector<std::size_t> MemcachedClient::add(std::span<const Item> items, const Wait& wait) {
  std::vector<std::size_t> taken;
  for_some_at_once(items, [&](std::size_t first, std::span<const Item> some) {
    std::vector<std::string> commands(some.size());
    std::vector<ByteView> parts;
    for (std::size_t i = 0; i < some.size(); ++i) {
      // The end of the value before stands in front.
      commands[i] = fmt::format("{}ms {} {} ME F{} O{}{}\r\n", i == 0 ? "" : "\r\n", some[i].key, some[i].bytes,
                                some[i].flags, i, quiet(i, some.size()));
      parts.push_back(as_bytes(commands[i]));
      parts.insert(parts.end(), some[i].parts.begin(), some[i].parts.end());
    }
    parts.push_back(as_bytes("\r\n"));
    const auto there = call(wait, Repeat::kOnce, [&](MemcachedConnection& connection) {
      std::vector<std::size_t> indices;
      connection.send(parts);
      for (bool is_last = false; !is_last;) {
        const auto& reply = connection.receive();
        const auto index = index_in(reply, some.size(), connection);
        is_last = index + 1 == some.size();
        if (reply.kind == ReplyKind::kNotStored) {
          indices.push_back(index);
        } else if (reply.kind != ReplyKind::kDone) {
          connection.fail_unexpected();
        }
      }
      connection.done();
      return indices;
    });
    for (const auto index : there) taken.push_back(first + index);
  });
  return taken;
}

template <typename OnReply>
void MemcachedClient::get_each(std::span<const std::string> keys, std::string_view flags, const OnReply& on_reply,
                               const Wait& wait) {
  for_some_at_once(keys, [&](std::size_t first, std::span<const std::string> some) {
    std::string commands;
    for (std::size_t i = 0; i < some.size(); ++i) {
      commands += fmt::format("mg {} {} O{}{}\r\n", some[i], flags, i, quiet(i, some.size()));
    }
    call(wait, Repeat::kOnce, [&](MemcachedConnection& connection) {
      connection.send(commands);
      for (bool is_last = false; !is_last;) {
        const auto& reply = connection.receive();
        if (reply.kind == ReplyKind::kNotThere) break;  // only the last says so
        const auto index = index_in(reply, some.size(), connection);
        is_last = index + 1 == some.size();
        on_reply(connection, reply, first + index);
      }
      connection.done();
      return true;
    });
  });
}

void MemcachedClient::fetch(std::span<const std::string> keys, const OnValue& on_value, const Wait& wait) {
  const auto take = [&](MemcachedConnection& connection, const MemcachedReply& reply, std::size_t index) {
    if (reply.kind != ReplyKind::kValue || !reply.flags) connection.fail_unexpected();
    const auto kept = static_cast<std::uint32_t>(*reply.flags);
    on_value(index, connection.receive_value(), kept);
  };
  get_each(keys, "v f", take, wait);
}

std::size_t MemcachedClient::fetch_into(std::span<const std::string> keys, std::span<const std::span<std::byte>> places,
                                        const Wait& wait) {
  std::size_t count = 0;
  const auto take = [&](MemcachedConnection& connection, const MemcachedReply& reply, std::size_t index) {
    if (reply.kind != ReplyKind::kValue || reply.value_bytes != places[index].size()) connection.fail_unexpected();
    connection.receive_value(places[index]);
    ++count;
  };
  get_each(keys, "v", take, wait);
  return count;
}

void MemcachedClient::sizes(std::span<const std::string> keys,
                            const std::function<void(std::size_t, std::uint64_t)>& on_size, const Wait& wait) {
  const auto take = [&](MemcachedConnection& connection, const MemcachedReply& reply, std::size_t index) {
    if (reply.kind != ReplyKind::kDone || !reply.size) connection.fail_unexpected();
    on_size(index, *reply.size);
  };
  get_each(keys, "s", take, wait);
}

void MemcachedClient::remove(std::span<const std::string> keys, const Wait& wait) {
  for_some_at_once(keys, [&](std::size_t, std::span<const std::string> some) {
    std::string commands;
    for (std::size_t i = 0; i < some.size(); ++i)
      commands += fmt::format("md {} O{}{}\r\n", some[i], i, quiet(i, some.size()));
    call(wait, Repeat::kOnce, [&](MemcachedConnection& connection) {
      connection.send(commands);
      for (bool is_last = false; !is_last;) {
        const auto& reply = connection.receive();
        if (reply.kind != ReplyKind::kDone && reply.kind != ReplyKind::kNotThere) connection.fail_unexpected();
        is_last = index_in(reply, some.size(), connection) + 1 == some.size();
      }
      connection.done();
      return true;
    });
  });
}

void MemcachedClient::list(const std::function<void(std::string_view)>& on_key, const Wait& wait) {
  const auto list_once = [&](MemcachedConnection& connection) {
    connection.send("lru_crawler metadump hash\r\n");
    bool is_busy = false;
    for (;;) {
      const auto& reply = connection.receive();
      if (reply.kind == ReplyKind::kBusy) is_busy = true;
      if (reply.kind == ReplyKind::kEnd || reply.kind == ReplyKind::kBusy) break;
      if (reply.kind != ReplyKind::kKey) connection.fail_unexpected();
      if (const auto key = memcached_key_of(reply.text)) on_key(*key);
    }
    connection.done();
    return !is_busy;
  };
  // Somebody else may be listing.
  for (Polling polling(wait);;) {
    if (call(wait, Repeat::kNever, list_once)) return;
    if (!polling.pause()) break;
  }
  throw_if_stopped(uri_, wait);
  throw Error(ErrorKind::kDeadlineExceeded, uri_ + ": Memcached was busy listing its keys for somebody else");
}

std::optional<MemcachedClient::Value> MemcachedClient::read(const std::string& key, const Wait& wait) {
  return call(wait, Repeat::kOnce, [&](MemcachedConnection& connection) -> std::optional<Value> {
    connection.send(fmt::format("mg {} v c\r\n", key));
    const auto& reply = connection.receive();
    std::optional<Value> value;
    if (reply.kind == ReplyKind::kValue && reply.cas) {
      const auto version = *reply.cas;
      value = Value{version, connection.receive_value()};
    } else if (reply.kind != ReplyKind::kNotThere) {
      connection.fail_unexpected();
    }
    connection.done();
    return value;
  });
}

std::optional<std::uint64_t> MemcachedClient::set(const std::string& key, std::string_view mode, ByteView bytes,
                                                  Repeat repeat, const Wait& wait) {
  const auto command = fmt::format("ms {} {} c{}\r\n", key, bytes.size(), mode);
  return call(wait, repeat, [&](MemcachedConnection& connection) -> std::optional<std::uint64_t> {
    connection.send(std::array{as_bytes(command), bytes, as_bytes("\r\n")});
    const auto& reply = connection.receive();
    connection.done();
    if (reply.kind == ReplyKind::kDone && reply.cas) return reply.cas;
    if (reply.kind == ReplyKind::kNotStored || reply.kind == ReplyKind::kExists || reply.kind == ReplyKind::kNotThere) {
      return std::nullopt;
    }
    connection.fail_unexpected();
  });
}

std::uint64_t MemcachedClient::write(const std::string& key, ByteView bytes, const Wait& wait) {
  const auto version = set(key, "", bytes, Repeat::kOnce, wait);
  if (!version) throw Error(ErrorKind::kCorrupt, uri_ + ": Memcached refused a write without saying why");
  return *version;
}

std::optional<std::uint64_t> MemcachedClient::exchange(const std::string& key, std::uint64_t expected, ByteView bytes,
                                                       const Wait& wait) {
  return set(key, expected == 0 ? " ME" : fmt::format(" C{}", expected), bytes, Repeat::kNever, wait);
}

MemcachedState MemcachedClient::state(const Wait& wait) {
  return call(wait, Repeat::kOnce, [](MemcachedConnection& connection) {
    const auto stats = ask_stats(connection, "stats\r\n");
    return MemcachedState{
        .process = number_in(stats, "pid", connection),
        .started = number_in(stats, "time", connection) - number_in(stats, "uptime", connection),
        .evictions = number_in(stats, "evictions", connection),
    };
  });
}

}  // namespace virga
