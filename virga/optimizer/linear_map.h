#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace virga {

/// A linear map of two numbers: (a, b) -> (aa a + ab b, ba a + bb b).
struct LinearMap {
  double aa = 1, ab = 0, ba = 0, bb = 1;

  /// First `before`, then this.
  [[nodiscard]] constexpr LinearMap after(const LinearMap& before) const noexcept {
    return {aa * before.aa + ab * before.ba, aa * before.ab + ab * before.bb,  //
            ba * before.aa + bb * before.ba, ba * before.ab + bb * before.bb};
  }
};

/// map^n for any 32-bit n with at most three products: the powers by each byte of n. 32 KiB.
class MapPowers {
 public:
  explicit MapPowers(const LinearMap& map = {}) noexcept {
    LinearMap factor = map;  // map^(256^byte)
    for (auto& powers : powers_) {
      powers[0] = {};
      for (std::size_t i = 1; i < powers.size(); ++i) powers[i] = factor.after(powers[i - 1]);
      factor = factor.after(powers.back());
    }
  }
  [[nodiscard]] LinearMap operator()(std::uint32_t n) const noexcept {
    LinearMap result = powers_[0][n & 255U];
    for (std::size_t byte = 1; (n >>= 8) != 0; ++byte) result = powers_[byte][n & 255U].after(result);
    return result;
  }

 private:
  std::array<std::array<LinearMap, 256>, 4> powers_;
};

/// factor^n by squaring; the same bits everywhere.
[[nodiscard]] constexpr double integer_power(double factor, std::uint64_t n) noexcept {
  double result = 1;
  for (; n != 0; n >>= 1, factor *= factor) {
    if ((n & 1U) != 0) result *= factor;
  }
  return result;
}

}  // namespace virga
