#include "virga/base/hash.h"

#include <array>
#include <bit>
#include <cstring>

#include <nmmintrin.h>

namespace virga {
namespace {

constexpr std::array<std::uint32_t, 256> crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78U : 0U);
    table[i] = crc;
  }
  return table;
}
constexpr auto kCrcTable = crc_table();

std::uint32_t crc32c_table(ByteView bytes, std::uint32_t crc) noexcept {
  for (const auto byte : bytes) crc = (crc >> 8) ^ kCrcTable[(crc ^ std::to_integer<std::uint32_t>(byte)) & 0xFF];
  return crc;
}

__attribute__((target("sse4.2"))) std::uint32_t crc32c_sse42(ByteView bytes, std::uint32_t crc) noexcept {
  std::uint64_t wide = crc;
  const auto* data = bytes.data();
  std::size_t size = bytes.size();
  for (; size >= 8; size -= 8, data += 8) {
    std::uint64_t word;
    std::memcpy(&word, data, 8);
    wide = _mm_crc32_u64(wide, word);
  }
  auto narrow = static_cast<std::uint32_t>(wide);
  for (; size > 0; --size, ++data) narrow = _mm_crc32_u8(narrow, std::to_integer<unsigned char>(*data));
  return narrow;
}

}  // namespace

std::uint32_t murmur3_x86_32(std::string_view text, std::uint32_t seed) noexcept {
  constexpr std::uint32_t c1 = 0xCC9E2D51U;
  constexpr std::uint32_t c2 = 0x1B873593U;
  std::uint32_t h = seed;
  std::size_t i = 0;
  for (; i + 4 <= text.size(); i += 4) {
    std::uint32_t k;
    std::memcpy(&k, text.data() + i, 4);
    h ^= std::rotl(k * c1, 15) * c2;
    h = std::rotl(h, 13) * 5 + 0xE6546B64U;
  }
  if (i < text.size()) {
    std::uint32_t k = 0;
    std::memcpy(&k, text.data() + i, text.size() - i);
    h ^= std::rotl(k * c1, 15) * c2;
  }
  h ^= static_cast<std::uint32_t>(text.size());
  h = (h ^ (h >> 16)) * 0x85EBCA6BU;
  h = (h ^ (h >> 13)) * 0xC2B2AE35U;
  return h ^ (h >> 16);
}

std::uint32_t crc32c(ByteView bytes, std::uint32_t crc) noexcept {
  static const bool has_sse42 = __builtin_cpu_supports("sse4.2") != 0;
  return ~(has_sse42 ? crc32c_sse42(bytes, ~crc) : crc32c_table(bytes, ~crc));
}

}  // namespace virga
