#include "virga/optimizer/linear_map.h"

#include <cmath>

#include <gtest/gtest.h>

namespace virga {
namespace {

TEST(MapPowers, AreRepeatedApplications) {
  const LinearMap momentum{.aa = 1 - 1e-4, .ab = -0.09, .ba = 1e-3, .bb = 0.9};
  const MapPowers powers(momentum);
  double a = 0.5, b = -2;
  for (std::uint32_t n = 0; n <= 70'000; ++n) {
    if (n < 600 || n % 997 == 0 || (n >= 65'530 && n < 65'550)) {
      const auto map = powers(n);
      // n rounding steps of 2^-53 on one side, a few dozen on the other.
      const double tolerance = 1e-13 + n * 0x1p-53;
      ASSERT_NEAR(map.aa * 0.5 + map.ab * -2, a, tolerance) << n;
      ASSERT_NEAR(map.ba * 0.5 + map.bb * -2, b, tolerance) << n;
    }
    const double next = momentum.aa * a + momentum.ab * b;
    b = momentum.ba * a + momentum.bb * b;
    a = next;
  }
}

TEST(MapPowers, ReachTheLargestExponent) {
  const MapPowers powers(LinearMap{.aa = 1 - 0x1p-30, .ab = 0, .ba = 0, .bb = 1});
  const auto map = powers(0xffffffffU);
  const double expected = std::exp((0x1p32 - 1) * std::log1p(-0x1p-30));
  EXPECT_NEAR(map.aa, expected, 0x1p32 * 0x1p-53 * expected);  // half a unit in the last place for each of 2^32 factors
  EXPECT_EQ(map.bb, 1);
}

TEST(IntegerPower, AgreesWithTheLibrary) {
  EXPECT_EQ(integer_power(0.9, 0), 1);
  EXPECT_EQ(integer_power(0.9, 1), 0.9);
  EXPECT_EQ(integer_power(0.0, 5), 0);
  for (const std::uint64_t n : {2ULL, 3ULL, 17ULL, 1000ULL, 123'456ULL}) {
    const double expected = std::pow(0.999, static_cast<double>(n));
    EXPECT_NEAR(integer_power(0.999, n), expected, 1e-11 * expected) << n;
  }
}

}  // namespace
}  // namespace virga
