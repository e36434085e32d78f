#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace virga {

/// The penalty l1 |w|_1 + (l2 / 2) |w|^2 of one table.
struct ElasticNet {
  double l1 = 0;
  double l2 = 0;
  [[nodiscard]] bool empty() const noexcept { return l1 == 0 && l2 == 0; }
};

// Everything below has no branches, so that loops over it vectorise, and uses only + - * / and bits, so that it gives
// the same bits whatever the width of the vectors.

/// log(1 + y) for y >= 0, to 1e-10 relative; y beyond 2^100 counts as 2^100.
[[gnu::always_inline]] inline double log1p_positive(double y) noexcept {
  constexpr auto kRootHalf = std::bit_cast<std::uint64_t>(0x1.6a09e667f3bcdp-1);
  constexpr double kTwo52 = 0x1p52;
  y = y < 0x1p100 ? y : 0x1p100;
  // u = 1 + y = 2^e m with m in [sqrt(1/2), sqrt(2)); what rounding took from u is added to m - 1.
  const double u = 1 + y;
  const double lost = y - (u - 1);
  const auto bits = std::bit_cast<std::uint64_t>(u);
  const std::uint64_t e = (bits - kRootHalf) >> 52;
  const double exponent = std::bit_cast<double>(e | std::bit_cast<std::uint64_t>(kTwo52)) - kTwo52;
  const double m = std::bit_cast<double>(bits - (e << 52));
  const double scale = std::bit_cast<double>((1023 - e) << 52);  // 2^-e
  const double f = (m - 1) + lost * scale;
  const double s = f / (2 + f);  // log m = 2 atanh s, |s| <= 0.172
  const double z = s * s;
  const double z2 = z * z;  // Estrin's scheme: short chains of operations
  const double tail = z * ((1.0 / 3 + z * (1.0 / 5)) + z2 * ((1.0 / 7 + z * (1.0 / 9)) + z2 * (1.0 / 11)));
  return exponent * 0x1.62e42fefa39efp-1 + 2 * s * (1 + tail);
}

/// e^-x and 1 - e^-x, both to 1e-10 relative while x <= 700, beyond which it counts as 700.
struct Decay {
  double kept = 1;
  double lost = 0;
};
[[gnu::always_inline]] inline Decay decay(double x) noexcept {
  constexpr double kMagic = 0x1.8p52;  // adding it leaves the nearest integer in the low bits
  x = x < 700 ? x : 700;
  const double shifted = x * 0x1.71547652b82fep0 + kMagic;  // x / log 2
  const double r = x - (shifted - kMagic) * 0x1.62e42fefa39efp-1;
  const auto k = std::bit_cast<std::uint64_t>(shifted) - std::bit_cast<std::uint64_t>(kMagic);
  const double scale = std::bit_cast<double>((1023 - k) << 52);  // 2^-k
  const double r2 = r * r, r4 = r2 * r2;
  const double low = (1 - r * (1.0 / 2)) + r2 * (1.0 / 6 - r * (1.0 / 24));
  const double high = (1.0 / 120 - r * (1.0 / 720)) + r2 * (1.0 / 5040 - r * (1.0 / 40320));
  const double p = r * (low + r4 * (high + r4 * (1.0 / 362880)));  // 1 - e^-r, |r| <= 0.347
  return {scale - scale * p, (1 - scale) + scale * p};
}

/// Moves `w` to the distance `left` from zero, or to +0 if that is negative. NaN stays NaN, for somebody to notice.
template <typename T>
[[gnu::always_inline]] inline T at_distance(T w, T left) noexcept {
  left = left < 0 ? T{0} : left;
  return w < 0 ? T{0} - left : left;
}

/// One proximal step of size a: w <- S(w, a l1) / (1 + a l2), with S the soft threshold; a l2 beyond 2^100 counts as
/// that. An infinite a l1 leaves 0.
[[gnu::always_inline]] inline float prox(float w, float a_l1, float a_l2) noexcept {
  const float after_l1 = std::abs(w) - a_l1;
  const float left =
      after_l1 < 0 ? 0.0F : after_l1;  // at once, or a large a_l2 could round it to the other side of zero
  a_l2 = a_l2 < 0x1p100F ? a_l2 : 0x1p100F;
  return at_distance(w, left - left * a_l2 / (1 + a_l2));  // in this form a small a_l2 is not lost in 1 + a_l2
}

/// n steps w <- q S(w, s) with q = 1 / (1 + y) and s = y l1 / l2 (a proximal step of size a: y = a l2) at once: they
/// leave the distance q^n |w| - s (q + ... + q^n) = q^n |w| - (l1 / l2) (1 - q^n).
/// Or n steps w <- S(q w, q s), which are the same. `logarithm` = log(1 + y), `ratio` = l1 / l2.
[[gnu::always_inline]] inline float decay_steps(float w, double n, double logarithm, double ratio) noexcept {
  const auto d = decay(n * logarithm);
  return static_cast<float>(at_distance(double{w}, std::abs(double{w}) * d.kept - ratio * d.lost));
}

/// The same without l2: n steps leave |w| - n a l1.
[[gnu::always_inline]] inline float threshold_steps(float w, double n, double a_l1) noexcept {
  return static_cast<float>(at_distance(double{w}, std::abs(double{w}) - n * a_l1));
}

}  // namespace virga
