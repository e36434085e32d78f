#pragma once

namespace virga::math {

/// Elementary functions of a double that give the same bits on every machine: built from + - * / and bit operations
/// only, no library, no fused multiply-add. Each follows IEEE 754 for infinities, NaN, overflow and underflow (to
/// subnormals and zero), without setting errno. Errors are in units in the last place of the result (ulp), as measured
/// by the test against the 64-bit mantissa of the library's long double.

[[nodiscard]] double exp(double x) noexcept;    ///< at most 1 ulp
[[nodiscard]] double expm1(double x) noexcept;  ///< e^x - 1, accurate near 0; at most 2 ulp
[[nodiscard]] double log(double x) noexcept;    ///< at most 1 ulp; NaN for x < 0, -infinity for 0
[[nodiscard]] double log1p(double x) noexcept;  ///< log(1 + x), accurate near 0; at most 2 ulp

/// x^y for x >= 0; at most 2 ulp. NaN for x < 0, whatever y (there are no integer powers of negative numbers here),
/// but x^0 = 1 for all x and 1^y = 1 for all y, NaN included.
[[nodiscard]] double pow(double x, double y) noexcept;

/// Cosine for |x| <= 100,000; NaN beyond. At most 2 ulp.
[[nodiscard]] double cos(double x) noexcept;

[[nodiscard]] double sigmoid(double x) noexcept;   ///< 1 / (1 + e^-x); at most 3 ulp
[[nodiscard]] double softplus(double x) noexcept;  ///< log(1 + e^x); at most 3 ulp

/// All at once, with the bits of the functions above.
struct Logistic {
  double sigmoid;         ///< of x
  double softplus;        ///< of x
  double minus_softplus;  ///< of -x
};
[[nodiscard]] Logistic logistic(double x) noexcept;

}  // namespace virga::math
