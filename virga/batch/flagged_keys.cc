#include "virga/batch/flagged_keys.h"

#include <immintrin.h>

#include "virga/base/error.h"

#define VIRGA_AVX512 [[gnu::target("avx512f,avx512vl,avx512bw")]]

namespace virga {
namespace {

using Flags = std::span<const std::uint8_t>;
using Keys = std::span<const std::uint32_t>;

const bool kHasAvx512 = __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512vl") != 0 &&
                        __builtin_cpu_supports("avx512bw") != 0;

/// From element `from` on, `count` being found before; without a branch for each flag, which nobody could predict.
std::size_t collect(Flags flags, Keys keys, std::size_t from, std::size_t count, std::uint32_t* used,
                    std::uint32_t* used_keys) noexcept {
  for (std::size_t i = from; i < flags.size(); ++i) {
    used[count] = static_cast<std::uint32_t>(i);
    used_keys[count] = keys[i];
    count += flags[i];
  }
  return count;
}

VIRGA_AVX512 std::size_t collect_avx512(Flags flags, Keys keys, std::uint32_t* used,
                                        std::uint32_t* used_keys) noexcept {
  constexpr std::size_t kLanes = 16;
  std::size_t count = 0;
  std::size_t i = 0;
  auto indices = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  for (; i + kLanes <= flags.size(); i += kLanes) {
    const auto some = _mm_loadu_si128(reinterpret_cast<const __m128i*>(flags.data() + i));
    const auto mask = _mm_test_epi8_mask(some, some);
    // Compressed in a register: compressing stores are slow on some processors.
    _mm512_storeu_si512(used + count, _mm512_maskz_compress_epi32(mask, indices));
    _mm512_storeu_si512(used_keys + count, _mm512_maskz_compress_epi32(mask, _mm512_loadu_si512(keys.data() + i)));
    count += static_cast<std::size_t>(__builtin_popcount(mask));
    indices = _mm512_add_epi32(indices, _mm512_set1_epi32(kLanes));
  }
  return collect(flags, keys, i, count, used, used_keys);
}

void check_room(Flags flags, Keys keys, std::size_t used, std::size_t used_keys) noexcept {
  const auto room = keys.size() + kFlaggedKeysSlack;
  check(flags.size() == keys.size() && used >= room && used_keys >= room,
        "flagged_keys: a flag a key, and room for all keys and some more");
}

}  // namespace

std::size_t flagged_keys(Flags flags, Keys keys, std::span<std::uint32_t> used,
                         std::span<std::uint32_t> used_keys) noexcept {
  check_room(flags, keys, used.size(), used_keys.size());
  return kHasAvx512 ? collect_avx512(flags, keys, used.data(), used_keys.data())
                    : collect(flags, keys, 0, 0, used.data(), used_keys.data());
}

std::size_t flagged_keys_plain(Flags flags, Keys keys, std::span<std::uint32_t> used,
                               std::span<std::uint32_t> used_keys) noexcept {
  check_room(flags, keys, used.size(), used_keys.size());
  return collect(flags, keys, 0, 0, used.data(), used_keys.data());
}

}  // namespace virga
