#include "virga/exchange/mean.h"

#include <bit>
#include <cstddef>
#include <cstdint>

#include "virga/base/error.h"

namespace virga {
namespace {

// Division is exact at every width: all versions give the same bits.
[[gnu::always_inline]] inline bool divide(const float* sum, std::size_t size, float weight, float* mean) noexcept {
  constexpr std::uint32_t kExponent = 0x7f800000U;
  std::uint32_t bad = 0;
  for (std::size_t i = 0; i < size; ++i) {
    mean[i] = sum[i] / weight;
    bad |= (std::bit_cast<std::uint32_t>(mean[i]) & kExponent) == kExponent ? 1U : 0U;
  }
  return bad == 0;
}

bool divide_128(const float* sum, std::size_t size, float weight, float* mean) noexcept {
  return divide(sum, size, weight, mean);
}
[[gnu::target("avx2")]] bool divide_256(const float* sum, std::size_t size, float weight, float* mean) noexcept {
  return divide(sum, size, weight, mean);
}

const bool kHasAvx2 = __builtin_cpu_supports("avx2") != 0;

}  // namespace

bool divide_finite(std::span<const float> sum, float weight, std::span<float> mean) noexcept {
  check(sum.size() == mean.size(), "divide_finite: as many means as sums");
  return kHasAvx2 ? divide_256(sum.data(), sum.size(), weight, mean.data())
                  : divide_128(sum.data(), sum.size(), weight, mean.data());
}

}  // namespace virga
