#include "virga/channel/redis_keys.h"

#include <charconv>

#include <fmt/format.h>

namespace virga {
namespace {

template <typename Number>
void put_hex(Number number, char*& to) {
  for (int shift = 8 * sizeof(Number) - 4; shift >= 0; shift -= 4) *to++ = "0123456789abcdef"[(number >> shift) & 0xf];
}

/// Joins `numbers` by '-'.
template <typename... Numbers>
std::string hex_name(Numbers... numbers) {
  std::string name(((2 * sizeof(Numbers)) + ...) + sizeof...(Numbers) - 1, '-');
  char* to = name.data();
  ((put_hex(numbers, to), ++to), ...);
  return name;
}

}  // namespace

RedisKeys::RedisKeys(std::string_view job)
    : index_(fmt::format("virga:{}:index", job)),
      messages_(fmt::format("virga:{}:m:", job)),
      registers_(fmt::format("virga:{}:r:", job)) {}

std::string RedisKeys::message(const MessageKey& key) const { return messages_ + redis_name(key); }

std::string RedisKeys::piece(const MessageKey& key, std::size_t number) const {
  return fmt::format("{}{}:{}", messages_, redis_name(key), number);
}

std::string RedisKeys::of_register(std::string_view name) const { return registers_ + std::string(name); }

std::string redis_name(const MessageKey& key) {
  return hex_name(key.view, key.group, key.source, key.round, key.phase, key.destination, key.part);
}

std::string redis_index_member(std::string_view name, std::size_t bytes) {
  const fmt::format_int digits(bytes);
  std::string member;
  member.reserve(name.size() + 1 + digits.size());
  return member.append(name).append(1, ':').append(digits.data(), digits.size());
}

std::uint64_t redis_indexed_bytes(std::string_view member) noexcept {
  std::uint64_t bytes = 0;
  const auto colon = member.find(':');
  if (colon != std::string_view::npos) std::from_chars(member.data() + colon + 1, member.data() + member.size(), bytes);
  return bytes;
}

RedisRange redis_rounds(std::uint32_t view, std::uint32_t group, std::uint32_t source, std::uint64_t round) {
  // '.' comes after '-', with which names of that round go on.
  return {"[" + hex_name(view, group, source), "(" + hex_name(view, group, source, round) + "."};
}

RedisRange redis_views_before(std::uint32_t view) { return {"-", "(" + hex_name(view)}; }

}  // namespace virga
