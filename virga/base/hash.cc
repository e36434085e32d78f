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

/// What kStream zero bytes do to a checksum: a linear map of its 32 bits, by the four bytes of the checksum.
constexpr unsigned kStreamBits = 10;
constexpr std::size_t kStream = std::size_t{1} << kStreamBits;
using Columns = std::array<std::uint32_t, 32>;

constexpr std::uint32_t image_of(const Columns& columns, std::uint32_t bits) {
  std::uint32_t sum = 0;
  for (unsigned i = 0; i < 32; ++i) {
    if ((bits >> i & 1) != 0) sum ^= columns[i];
  }
  return sum;
}

constexpr std::array<std::array<std::uint32_t, 256>, 4> stream_table() {
  Columns columns{};  // of one zero byte, then of twice as many, and again
  for (unsigned i = 0; i < 32; ++i) {
    const auto bit = std::uint32_t{1} << i;
    columns[i] = (bit >> 8) ^ kCrcTable[bit & 0xFF];
  }
  for (unsigned doubling = 0; doubling < kStreamBits; ++doubling) {
    Columns twice{};
    for (unsigned i = 0; i < 32; ++i) twice[i] = image_of(columns, columns[i]);
    columns = twice;
  }
  std::array<std::array<std::uint32_t, 256>, 4> table{};
  for (unsigned byte = 0; byte < 4; ++byte) {
    for (std::uint32_t value = 0; value < 256; ++value) table[byte][value] = image_of(columns, value << (8 * byte));
  }
  return table;
}
constexpr auto kStreamTable = stream_table();

std::uint32_t past_a_stream(std::uint64_t crc) noexcept {
  return kStreamTable[0][crc & 0xFF] ^ kStreamTable[1][crc >> 8 & 0xFF] ^ kStreamTable[2][crc >> 16 & 0xFF] ^
         kStreamTable[3][crc >> 24 & 0xFF];
}

std::uint64_t word_at(const std::byte* data) noexcept {
  std::uint64_t word;
  std::memcpy(&word, data, sizeof word);
  return word;
}

__attribute__((target("sse4.2"))) std::uint32_t crc32c_sse42(ByteView bytes, std::uint32_t crc) noexcept {
  std::uint64_t wide = crc;
  const auto* data = bytes.data();
  std::size_t size = bytes.size();
  // The instruction takes three cycles and one may begin in each: three streams at once, joined as if each had been
  // followed by zeros. What comes next is fetched meanwhile, which three streams hide from the processor.
  for (; size >= 3 * kStream; size -= 3 * kStream, data += 3 * kStream) {
    std::uint64_t second = 0;
    std::uint64_t third = 0;
    const auto ahead = size >= 6 * kStream ? 3 * kStream : 0;
    for (std::size_t i = 0; i < kStream; i += 8) {
      if (i % 64 == 0) {
        for (std::size_t stream = 0; stream < 3; ++stream) __builtin_prefetch(data + ahead + stream * kStream + i);
      }
      wide = _mm_crc32_u64(wide, word_at(data + i));
      second = _mm_crc32_u64(second, word_at(data + kStream + i));
      third = _mm_crc32_u64(third, word_at(data + 2 * kStream + i));
    }
    wide = past_a_stream(past_a_stream(wide) ^ second) ^ third;
  }
  for (; size >= 8; size -= 8, data += 8) wide = _mm_crc32_u64(wide, word_at(data));
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
