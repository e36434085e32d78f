#include "virga/channel/redis_register.h"

#include <charconv>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {
namespace {

using Kind = RespValue::Kind;
using Repeat = RedisClient::Repeat;

/// A register is a stream that keeps its newest entry, whose ID is "0-VERSION".
constexpr std::string_view kValueField = "v";

/// ARGV: the expected version, the one before and the one after it, the value. The stream's last ID is the expected
/// version if it has one entry, and none before or after that.
constexpr std::string_view kExchangeScript = R"(
local found = redis.call('XLEN', KEYS[1])
if ARGV[1] == '0' then
  if found ~= 0 then return false end
elseif found ~= 1 or #redis.call('XRANGE', KEYS[1], '0-' .. ARGV[3], '+', 'COUNT', 1) ~= 0 or
    (ARGV[2] ~= '0' and #redis.call('XRANGE', KEYS[1], '0-1', '0-' .. ARGV[2], 'COUNT', 1) ~= 0) then
  return false
end
return redis.call('XADD', KEYS[1], 'MAXLEN', '1', '0-' .. ARGV[3], 'v', ARGV[4])
)";

std::string what_of(std::string_view what, std::string_view name) {
  return fmt::format("{} of register \"{}\"", what, name);
}

/// Of an ID "0-VERSION"; 0 for what is none.
std::uint64_t version_of(std::string_view id) {
  std::uint64_t version = 0;
  if (id.starts_with("0-")) std::from_chars(id.data() + 2, id.data() + id.size(), version);
  return version;
}

}  // namespace

void RedisRegister::check(std::string_view name, ByteView bytes) const {
  check_register_name(*this, name);
  if (bytes.size() <= max_value_bytes()) return;
  throw Error(ErrorKind::kTooLarge, fmt::format("{}: a value of {} bytes for register \"{}\", but {} is the most",
                                                uri(), bytes.size(), name, max_value_bytes()));
}

RegisterValue RedisRegister::value_of(RespValue& entry, std::string_view name) const {
  if (entry.is(Kind::kArray) && entry.items.size() == 2) {
    const auto version = version_of(entry.items[0].bytes_text());
    auto& fields = entry.items[1];
    if (version != 0 && fields.items.size() == 2 && fields.items[0].bytes_text() == kValueField) {
      return {.version = version, .bytes = std::move(fields.items[1].bytes)};
    }
  }
  throw Error(ErrorKind::kCorrupt, fmt::format("{}: this is no register: \"{}\"", uri(), name));
}

std::optional<RegisterValue> RedisRegister::read(std::string_view name, const Wait& wait) {
  check_register_name(*this, name);
  RespRequest request;
  request.command({"XREVRANGE", keys_.of_register(name), "+", "-", "COUNT", "1"});
  auto reply = client_->ask(request, what_of("read", name), wait);
  if (reply.items.empty()) return std::nullopt;
  return value_of(reply.items[0], name);
}

std::uint64_t RedisRegister::write(std::string_view name, ByteView bytes, const Wait& wait) {
  check(name, bytes);
  RespRequest request;
  request.command(7).add("XADD").add(keys_.of_register(name)).add("MAXLEN").add("1").add("0-*").add(kValueField);
  request.add(std::span(&bytes, 1));
  return version_of(client_->ask(request, what_of("write", name), wait, Repeat::kNever).bytes_text());
}

std::optional<std::uint64_t> RedisRegister::compare_exchange(std::string_view name, std::uint64_t expected,
                                                             ByteView bytes, const Wait& wait) {
  check(name, bytes);
  RespRequest request;
  request.command(8).add("EVAL").add(kExchangeScript).add("1").add(keys_.of_register(name));
  request.add(std::to_string(expected)).add(std::to_string(expected == 0 ? 0 : expected - 1));
  request.add(std::to_string(expected + 1)).add(std::span(&bytes, 1));
  const auto reply = client_->ask(request, what_of("exchange", name), wait, Repeat::kNever);
  if (reply.is(Kind::kNothing)) return std::nullopt;
  return version_of(reply.bytes_text());
}

RegisterValue RedisRegister::wait_newer(std::string_view name, std::uint64_t version, const Wait& wait) {
  check_register_name(*this, name);
  const auto key = keys_.of_register(name);
  const auto id = fmt::format("0-{}", version);
  for (;;) {
    RespRequest request;
    if (wait.deadline.passed()) {
      request.command({"XREAD", "STREAMS", key, id});
    } else {
      request.command({"XREAD", "BLOCK", std::to_string(redis_block_ms(wait)), "STREAMS", key, id});
    }
    RespValue reply;
    try {
      reply = client_->ask(request, what_of("wait for a newer value", name), wait);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kDeadlineExceeded) throw_not_newer(*this, name, version);
      throw;
    }
    if (reply.is(Kind::kArray) && reply.items.size() == 1 && reply.items[0].items.size() == 2) {
      auto& entries = reply.items[0].items[1].items;
      if (!entries.empty()) return value_of(entries.back(), name);
    }
    if (wait.deadline.passed()) throw_not_newer(*this, name, version);
  }
}

void RedisRegister::remove(std::string_view name, const Wait& wait) {
  check_register_name(*this, name);
  RespRequest request;
  request.command({"UNLINK", keys_.of_register(name)});
  static_cast<void>(client_->ask(request, what_of("removal", name), wait));
}

}  // namespace virga
