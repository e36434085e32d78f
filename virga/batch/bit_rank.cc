#include "virga/batch/bit_rank.h"

#include <cstddef>

// Processors that count bits by an instruction do so here; where the compiler may not assume one, it would call a
// library for each word.
#define VIRGA_POPCNT [[gnu::target("popcnt")]]

namespace virga {
namespace {

template <bool kInstruction>
[[gnu::always_inline]] inline std::uint32_t count_bits(std::uint64_t word) noexcept {
  if constexpr (kInstruction) return static_cast<std::uint32_t>(__builtin_popcountll(word));
  word -= (word >> 1) & 0x5555555555555555U;
  word = (word & 0x3333333333333333U) + ((word >> 2) & 0x3333333333333333U);
  return static_cast<std::uint32_t>((((word + (word >> 4)) & 0x0f0f0f0f0f0f0f0fU) * 0x0101010101010101U) >> 56);
}

template <bool kInstruction>
[[gnu::always_inline]] inline std::uint32_t rank(const std::uint64_t* words, std::size_t count,
                                                 std::uint32_t* rank) noexcept {
  std::uint32_t before = 0;
  for (std::size_t w = 0; w < count; ++w) {
    rank[w] = before;
    before += count_bits<kInstruction>(words[w]);
  }
  return before;
}

template <bool kInstruction>
[[gnu::always_inline]] inline void find(const std::uint64_t* words, const std::uint32_t* rank,
                                        std::span<const std::uint32_t> bits, std::uint32_t* places) noexcept {
  for (std::size_t i = 0; i < bits.size(); ++i) {
    const auto bit = bits[i];
    const auto before = words[bit / 64] & ~(~std::uint64_t{0} << (bit % 64));
    places[i] = rank[bit / 64] + count_bits<kInstruction>(before);
  }
}

VIRGA_POPCNT std::uint32_t rank_by_instruction(const std::uint64_t* words, std::size_t count,
                                               std::uint32_t* out) noexcept {
  return rank<true>(words, count, out);
}
VIRGA_POPCNT void find_by_instruction(const std::uint64_t* words, const std::uint32_t* rank,
                                      std::span<const std::uint32_t> bits, std::uint32_t* places) noexcept {
  find<true>(words, rank, bits, places);
}

const bool kHasInstruction = __builtin_cpu_supports("popcnt") != 0;

}  // namespace

std::uint32_t rank_words(std::span<const std::uint64_t> words, std::span<std::uint32_t> out) noexcept {
  return kHasInstruction ? rank_by_instruction(words.data(), words.size(), out.data())
                         : rank<false>(words.data(), words.size(), out.data());
}

void find_places(std::span<const std::uint64_t> words, std::span<const std::uint32_t> rank,
                 std::span<const std::uint32_t> bits, std::span<std::uint32_t> places) noexcept {
  kHasInstruction ? find_by_instruction(words.data(), rank.data(), bits, places.data())
                  : find<false>(words.data(), rank.data(), bits, places.data());
}

}  // namespace virga
