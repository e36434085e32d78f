#include "virga/math/elementary.h"

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

// Each function reduces its argument to a small interval, where a Taylor series with a remainder below 2^-56 does the
// rest, and keeps what rounding lost in a second, low double wherever it would show in the result. The general
// techniques are those of Muller, "Elementary Functions" (3rd ed., 2016), chapters 9 to 11.
namespace virga::math {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// log 2 = high + low; high has 32 bits, so that its product with an exponent is exact.
constexpr double kLog2High = 0x1.62e42feep-1;
constexpr double kLog2Low = 0x1.a39ef35793c76p-33;
constexpr double kLog2Of_e = 0x1.71547652b82fep+0;

/// An unevaluated sum; |low| is at most about half a unit in the last place of high.
struct Double2 {
  double high;
  double low;
};

/// Exact sum, |a| >= |b| or a == 0 (Dekker 1971).
Double2 fast_two_sum(double a, double b) noexcept {
  const double sum = a + b;
  return {sum, b - (sum - a)};
}

/// Exact sum (Knuth).
Double2 two_sum(double a, double b) noexcept {
  const double sum = a + b;
  const double of_b = sum - a;
  return {sum, (a - (sum - of_b)) + (b - of_b)};
}

/// Exact product, without fused multiply-add (Dekker 1971, Veltkamp's splitting).
Double2 two_product(double a, double b) noexcept {
  const auto split = [](double x) noexcept {
    const double scaled = x * 0x1.0000002p+27;
    const double high = scaled - (scaled - x);
    return Double2{high, x - high};
  };
  const auto [a_high, a_low] = split(a);
  const auto [b_high, b_low] = split(b);
  const double product = a * b;
  return {product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low};
}

/// To the nearest integer, ties to even; |x| < 2^51.
double nearest(double x) noexcept {
  constexpr double kShift = 0x1.8p+52;
  return (x + kShift) - kShift;
}

/// 2^k for -1022 <= k <= 1023.
double power_of_two(int k) noexcept { return std::bit_cast<double>(static_cast<std::uint64_t>(k + 1023) << 52); }

/// x 2^k, rounded once when the result is subnormal; 0.5 <= x <= 2.
double scale(double x, int k) noexcept {
  if (k > 1023) return x * 2.0 * power_of_two(k - 1 > 1023 ? 1023 : k - 1);
  if (k < -1000) return x * power_of_two(k + 200 < -1022 ? -1022 : k + 200) * 0x1p-200;
  return x * power_of_two(k);
}

/// coefficients[0] + x coefficients[1] + x^2 coefficients[2] + ...
template <std::size_t n>
double polynomial(double x, const double (&coefficients)[n]) noexcept {
  double sum = coefficients[n - 1];
  for (std::size_t i = n - 1; i-- > 0;) sum = sum * x + coefficients[i];
  return sum;
}

/// (e^r - 1 - r) / r^2 for |r| <= 0.36: 1/2! + r/3! + ...
double exp_tail(double r) noexcept {
  static constexpr double kTerms[] = {1.0 / 2,         1.0 / 6,          1.0 / 24,          1.0 / 120,
                                      1.0 / 720,       1.0 / 5040,       1.0 / 40320,       1.0 / 362880,
                                      1.0 / 3628800.0, 1.0 / 39916800.0, 1.0 / 479001600.0, 1.0 / 6227020800.0};
  return polynomial(r, kTerms);
}

/// x = k log 2 + r, |r| <= 0.35; r = high + low.
struct Reduced {
  int k;
  Double2 r;
};

Reduced reduce_exp(double x) noexcept {
  const double k = nearest(x * kLog2Of_e);
  return {static_cast<int>(k), fast_two_sum(x - k * kLog2High, -k * kLog2Low)};
}

/// e^(x + x_low), |x| < 800, |x_low| tiny.
double exp_of_sum(double x, double x_low) noexcept {
  const auto [k, r] = reduce_exp(x);
  const auto [one, rest] = fast_two_sum(1.0, r.high);
  const double tail = r.high * r.high * exp_tail(r.high);
  const double low = (r.low + x_low) * (one + (rest + tail));
  return scale(one + (rest + (tail + low)), k);
}

/// x = 2^k m with sqrt(1/2) <= m < sqrt(2), for positive finite x, subnormals included.
struct Split {
  int k;
  double m;
};

Split split_exponent(double x) noexcept {
  int k = 0;
  if (x < 0x1p-1022) {
    x *= 0x1p54;
    k = -54;
  }
  auto bits = std::bit_cast<std::uint64_t>(x);
  constexpr std::uint64_t kSqrtHalf = 0x3FE6A09E667F3BCD;
  const auto shifted = bits - kSqrtHalf + (std::uint64_t{1023} << 52);
  const int exponent = static_cast<int>(shifted >> 52) - 1023;
  bits -= static_cast<std::uint64_t>(static_cast<std::int64_t>(exponent)) << 52;
  return {k + exponent, std::bit_cast<double>(bits)};
}

/// s^2/3 + s^4/5 + ..., of s2 = s^2 <= 0.0295: with s = f / (2 + f), log(1 + f) = 2s (1 + this).
double log_tail(double s2) noexcept {
  static constexpr double kTerms[] = {1.0 / 3,  1.0 / 5,  1.0 / 7,  1.0 / 9,  1.0 / 11,
                                      1.0 / 13, 1.0 / 15, 1.0 / 17, 1.0 / 19, 1.0 / 21};
  return s2 * polynomial(s2, kTerms);
}

/// k log 2 + log(1 + f) + low, for f in [sqrt(1/2) - 1, sqrt(2) - 1].
/// As 2s = f - s f = f - (f^2/2 - s f^2/2), log(1 + f) = 2s + 2s tail = f - (f^2/2 - s (f^2/2 + 2 tail)): the small
/// terms are gathered first and f, which is exact, is added last.
double log_of_parts(int k, double f, double low) noexcept {
  const double s = f / (2.0 + f);
  const double half_square = 0.5 * f * f;
  const double small = s * (half_square + 2.0 * log_tail(s * s)) + (k * kLog2Low + low);
  if (k == 0) return f - (half_square - small);
  const auto [sum, rest] = fast_two_sum(k * kLog2High, f);
  return sum + (rest - (half_square - small));
}

/// log x as an unevaluated sum with a relative error of about 2^-64.
Double2 log_double2(double x) noexcept {
  const auto [k, m] = split_exponent(x);
  const double f = m - 1.0;  // exact
  const auto divisor = two_sum(2.0, f);
  // s = f / divisor, with one step of correction.
  const double s = f / divisor.high;
  const auto back = two_product(s, divisor.high);
  const double s_low = (((f - back.high) - back.low) - s * divisor.low) / divisor.high;
  // log m = 2s + (2/3) s^3 + 2 s^5 (1/5 + s^2/7 + ...)
  const auto square = two_product(s, s);
  const double square_low = square.low + 2.0 * s * s_low;
  const auto cube = two_product(s, square.high);
  const double cube_low = cube.low + s * square_low + s_low * square.high;
  constexpr double kTwoThirds = 0x1.5555555555555p-1;
  constexpr double kTwoThirdsLow = 0x1.5555555555555p-55;
  const auto third = two_product(cube.high, kTwoThirds);
  const double third_low = third.low + cube_low * kTwoThirds + cube.high * kTwoThirdsLow;
  const double s2 = square.high;
  static constexpr double kTerms[] = {1.0 / 5,  1.0 / 7,  1.0 / 9,  1.0 / 11, 1.0 / 13, 1.0 / 15,
                                      1.0 / 17, 1.0 / 19, 1.0 / 21, 1.0 / 23, 1.0 / 25};
  const double rest = 2.0 * s * s2 * s2 * polynomial(s2, kTerms);

  const auto first = two_sum(k * kLog2High, 2.0 * s);
  const auto second = two_sum(first.high, third.high);
  const double low = first.low + second.low + (2.0 * s_low + third_low + k * kLog2Low + rest);
  return fast_two_sum(second.high, low);
}

}  // namespace

double exp(double x) noexcept {
  if (!(x < 710.0)) return x + kInfinity;  // NaN stays NaN
  if (x < -746.0) return 0.0;
  return exp_of_sum(x, 0.0);
}

double expm1(double x) noexcept {
  if (!(x < 710.0)) return x + kInfinity;
  if (x < -40.0) return -1.0;
  if (x > -0x1p-54 && x < 0x1p-54) return x;
  const auto [k, r] = reduce_exp(x);
  const double tail = r.high * r.high * exp_tail(r.high) + r.low * (1.0 + r.high);
  if (k == 0) return r.high + tail;
  if (k > 60) return scale(1.0 + (r.high + tail), k);
  // 2^k (1 + r + tail) - 1; 2^k - 1 may lose its last bit, which two_sum keeps.
  const double power = power_of_two(k);
  const auto constant = two_sum(power, -1.0);
  const auto sum = two_sum(constant.high, power * r.high);
  return sum.high + (sum.low + constant.low + power * tail);
}

double log(double x) noexcept {
  if (!(x > 0.0)) return x == 0.0 ? -kInfinity : kNan;
  if (x == kInfinity) return x;
  const auto [k, m] = split_exponent(x);
  return log_of_parts(k, m - 1.0, 0.0);
}

double log1p(double x) noexcept {
  if (!(x > -1.0)) return x == -1.0 ? -kInfinity : kNan;
  if (x == kInfinity) return x;
  if (x > -0x1p-54 && x < 0x1p-54) return x;
  if (x > -0.29 && x < 0.41) return log_of_parts(0, x, 0.0);
  const auto sum = two_sum(1.0, x);
  const auto [k, m] = split_exponent(sum.high);
  return log_of_parts(k, m - 1.0, sum.low / sum.high);
}

double pow(double x, double y) noexcept {
  if (y == 0.0 || x == 1.0) return 1.0;
  if (!(x >= 0.0) || y != y) return kNan;
  const bool grows = (x > 1.0) == (y > 0.0);
  if (x == 0.0 || x == kInfinity || y == kInfinity || y == -kInfinity) return grows ? kInfinity : 0.0;
  // |log x| >= 2^-53, so that the result certainly over- or underflows; the products below stay finite.
  if (y > 0x1p64 || y < -0x1p64) return grows ? kInfinity : 0.0;
  const auto log_x = log_double2(x);
  const auto product = two_product(y, log_x.high);
  const double low = product.low + y * log_x.low;
  if (product.high > 710.0) return kInfinity;
  if (product.high < -746.0) return 0.0;
  return exp_of_sum(product.high, low);
}

double cos(double x) noexcept {
  const double y = x < 0.0 ? -x : x;
  if (!(y <= 100'000.0)) return kNan;
  // y = n pi/2 + r; pi/2 in three parts, of which two have 33 bits: their products with n are exact.
  constexpr double kHalfPi[] = {0x1.921fb544p+0, 0x1.0b4611a6p-34, 0x1.3198a2e037073p-69};
  const double n = nearest(y * 0x1.45f306dc9c883p-1);
  const auto first = two_sum(y - n * kHalfPi[0], -n * kHalfPi[1]);
  const auto [r, r_low] = fast_two_sum(first.high, first.low - n * kHalfPi[2]);
  const double r2 = r * r;
  const auto quadrant = static_cast<unsigned>(n) & 3U;
  if ((quadrant & 1U) == 0) {
    static constexpr double kTerms[] = {
        1.0 / 24,          -1.0 / 720,           1.0 / 40320,           -1.0 / 3628800.0,
        1.0 / 479001600.0, -1.0 / 87178291200.0, 1.0 / 20922789888000.0};
    const auto main = fast_two_sum(1.0, -0.5 * r2);
    const auto square = two_product(r, r);
    const double cosine = main.high + (main.low + (r2 * r2 * polynomial(r2, kTerms) - 0.5 * square.low - r * r_low));
    return quadrant == 0 ? cosine : -cosine;
  }
  static constexpr double kTerms[] = {-1.0 / 6,          1.0 / 120,          -1.0 / 5040,           1.0 / 362880,
                                      -1.0 / 39916800.0, 1.0 / 6227020800.0, -1.0 / 1307674368000.0};
  const double sine = r + (r * r2 * polynomial(r2, kTerms) + r_low * (1.0 - 0.5 * r2));
  return quadrant == 1 ? -sine : sine;
}

double sigmoid(double x) noexcept {
  const double power = exp(-std::abs(x));
  return (x >= 0.0 ? 1.0 : power) / (1.0 + power);
}

double softplus(double x) noexcept {
  const double tail = log1p(exp(-std::abs(x)));
  return x > 0.0 ? x + tail : tail;
}

Logistic logistic(double x) noexcept {
  const double power = exp(-std::abs(x));
  const double tail = log1p(power);
  return {(x >= 0.0 ? 1.0 : power) / (1.0 + power), x > 0.0 ? x + tail : tail, x < 0.0 ? tail - x : tail};
}

}  // namespace virga::math
