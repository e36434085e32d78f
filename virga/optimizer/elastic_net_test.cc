#include "virga/optimizer/elastic_net.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "virga/base/random.h"

namespace virga {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
const Random kRandom(1, Purpose::kTest);

/// The exponent is uniform in [from, to): values of all magnitudes.
double any_magnitude(std::uint64_t i, double from, double to) {
  return std::exp2(from + (to - from) * kRandom.uniform(0, i));
}

double soft_threshold(double x, double by) { return std::copysign(std::max(std::abs(x) - by, 0.0), x); }

TEST(Log1pPositive, AgreesWithTheLibraryTo1e10) {
  EXPECT_EQ(log1p_positive(0), 0);
  for (std::uint64_t i = 0; i < 50'000; ++i) {
    const double y = any_magnitude(i, -200, 100);
    const double expected = std::log1p(y);
    ASSERT_NEAR(log1p_positive(y), expected, 1e-10 * expected) << "y " << y;
  }
}

TEST(Log1pPositive, CountsMoreThan2To100AsThat) {
  const double most = log1p_positive(0x1p100);
  EXPECT_NEAR(most, 100 * std::log(2.0), 1e-8);
  EXPECT_EQ(log1p_positive(1e300), most);
  EXPECT_EQ(log1p_positive(std::numeric_limits<double>::infinity()), most);
}

TEST(Decay, AgreesWithTheLibraryTo1e10) {
  EXPECT_EQ(decay(0).kept, 1);
  EXPECT_EQ(decay(0).lost, 0);
  for (std::uint64_t i = 0; i < 50'000; ++i) {
    const double x = any_magnitude(i, -200, 9.45);  // up to 699
    const auto found = decay(x);
    ASSERT_NEAR(found.kept, std::exp(-x), 1e-10 * std::exp(-x)) << "x " << x;
    ASSERT_NEAR(found.lost, -std::expm1(-x), 1e-10 * -std::expm1(-x)) << "x " << x;
  }
}

TEST(Decay, CountsMoreThan700AsThat) {
  EXPECT_EQ(decay(1e300).kept, decay(700).kept);
  EXPECT_EQ(decay(std::numeric_limits<double>::infinity()).lost, 1);
}

TEST(Prox, SolvesItsMinimisation) {
  for (std::uint64_t i = 0; i < 50'000; ++i) {
    const auto w = static_cast<float>(any_magnitude(4 * i, -10, 10) * (i % 2 == 0 ? 1 : -1));
    const auto a_l1 = i % 3 == 0 ? 0 : static_cast<float>(any_magnitude(4 * i + 1, -20, 10));
    const auto a_l2 = i % 5 == 0 ? 0 : static_cast<float>(any_magnitude(4 * i + 2, -40, 40));
    const double expected = soft_threshold(w, a_l1) / (1 + double{a_l2});
    // 1 - a_l2 / (1 + a_l2) cancels when a_l2 is large: what is left is exact to some 2^-24 of what was there before.
    const double before = std::max(std::abs(double{w}) - a_l1, 0.0);
    ASSERT_NEAR(prox(w, a_l1, a_l2), expected, 4 * 0x1p-24 * before) << w << " " << a_l1 << " " << a_l2;
  }
}

TEST(Prox, SeesAPenaltyThatIsLostInOnePlusIt) {
  constexpr float kTiny = 4e-8F;
  ASSERT_EQ(1 + kTiny, 1);
  EXPECT_LT(prox(1, 0, kTiny), 1);
}

TEST(Prox, TakesPenaltiesWithoutBound) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float a_l1 : {0.0F, 1.0F, 1e36F, kInfinity}) {
    for (const float a_l2 : {1e30F, 1e36F, kInfinity}) EXPECT_EQ(prox(-3, a_l1, a_l2), 0) << a_l1 << " " << a_l2;
  }
  EXPECT_EQ(prox(-3, kInfinity, 0), 0);
}

TEST(Prox, LeavesPositiveZeroAndKeepsNaN) {
  for (const float w : {0.0F, -0.0F, 0.5F, -0.5F}) {
    EXPECT_EQ(prox(w, 1, 0), 0);
    EXPECT_FALSE(std::signbit(prox(w, 1, 0)));
    EXPECT_FALSE(std::signbit(decay_steps(w, 100, std::log1p(0.1), 10)));
    EXPECT_FALSE(std::signbit(threshold_steps(w, 100, 0.1)));
  }
  EXPECT_TRUE(std::isnan(prox(kNaN, 1, 1)));
  EXPECT_TRUE(std::isnan(prox(kNaN, 0, 0)));
  EXPECT_TRUE(std::isnan(decay_steps(kNaN, 3, 0.1, 1)));
  EXPECT_TRUE(std::isnan(threshold_steps(kNaN, 3, 0.1)));
}

TEST(DecaySteps, DoAllProximalStepsAtOnce) {
  for (const int steps : {0, 1, 2, 3, 10, 1000, 30'000}) {
    for (const double y : {1e-12, 1e-7, 1e-4, 0.1, 3.0}) {
      for (const double ratio : {0.0, 1e-3, 0.5}) {
        const float start = -0.75F;
        double expected = start;
        for (int n = 0; n < steps; ++n) expected = soft_threshold(expected, y * ratio) / (1 + y);
        // Single precision of the result, subnormal or not; the difference of two terms is as exact as they are.
        EXPECT_NEAR(decay_steps(start, steps, log1p_positive(y), ratio), expected,
                    0x1p-24 * std::abs(expected) + 0x1p-149 + (ratio > 0 ? 1e-9 : 0))
            << steps << " steps, y " << y << ", ratio " << ratio;
      }
    }
  }
}

TEST(ThresholdSteps, DoAllStepsAtOnce) {
  EXPECT_EQ(threshold_steps(0.75F, 0, 0.25), 0.75F);
  EXPECT_EQ(threshold_steps(0.75F, 2, 0.25), 0.25F);
  EXPECT_EQ(threshold_steps(-0.75F, 2, 0.25), -0.25F);
  EXPECT_EQ(threshold_steps(-0.75F, 4, 0.25), 0);
  EXPECT_EQ(threshold_steps(1, 1'000'000, 0x1p-21), static_cast<float>(1 - 1e6 * 0x1p-21));
}

}  // namespace
}  // namespace virga
