#include "virga/math/elementary.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "virga/base/random.h"

namespace virga {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// Distance of `value` from the exact `reference`, in units in the last place of a double of that size.
double ulps(double value, long double reference) {
  if (std::isinf(value) || std::isinf(static_cast<double>(reference))) {
    return value == static_cast<double>(reference) ? 0.0 : kInfinity;
  }
  int exponent = 0;
  std::frexp(reference, &exponent);
  const long double unit = std::ldexp(1.0L, std::max(exponent - 53, -1074));
  return static_cast<double>(std::abs(static_cast<long double>(value) - reference) / unit);
}

/// `count` random numbers of [low, high] and as many of random exponents within it.
std::vector<double> arguments(double low, double high, std::uint32_t count = 200'000) {
  const Random random(5, Purpose::kTest);
  std::vector<double> all = {low, high, 0.0, -0.0, 1.0, 0.5, 0x1p-60, 0x1p-1040};
  for (std::uint32_t i = 0; i < count; ++i) {
    all.push_back(low + (high - low) * random.uniform(0, i));
    const double magnitude = std::ldexp(0.5 + random.uniform(1, i), static_cast<int>(random.below(140, 2, i)) - 120);
    all.push_back(random.below(2, 3, i) == 0 ? magnitude : -magnitude);
  }
  std::erase_if(all, [&](double x) { return x < low || x > high; });
  return all;
}

template <typename Ours, typename Reference>
double worst_ulps(const std::vector<double>& all, Ours ours, Reference reference) {
  double worst = 0.0;
  double at = 0.0;
  for (const double x : all) {
    const double error = ulps(ours(x), reference(static_cast<long double>(x)));
    if (error > worst) {
      worst = error;
      at = x;
    }
  }
  std::printf("  worst error %.3f ulp at %a\n", worst, at);
  return worst;
}

TEST(Elementary, ExpIsWithinOneUlp) {
  const auto reference = [](long double x) { return std::exp(x); };
  EXPECT_LE(worst_ulps(arguments(-746.0, 710.5), math::exp, reference), 1.0);
  EXPECT_LE(worst_ulps(arguments(-2.0, 2.0), math::exp, reference), 1.0);
}

TEST(Elementary, Expm1IsWithinTwoUlps) {
  const auto reference = [](long double x) { return std::expm1(x); };
  EXPECT_LE(worst_ulps(arguments(-50.0, 710.5), math::expm1, reference), 2.0);
  EXPECT_LE(worst_ulps(arguments(-2.0, 2.0), math::expm1, reference), 2.0);
}

TEST(Elementary, LogIsWithinOneUlp) {
  const auto reference = [](long double x) { return std::log(x); };
  EXPECT_LE(worst_ulps(arguments(0x1p-1074, 1e300), math::log, reference), 1.0);
  EXPECT_LE(worst_ulps(arguments(0.25, 4.0), math::log, reference), 1.0);
}

TEST(Elementary, Log1pIsWithinTwoUlps) {
  const auto reference = [](long double x) { return std::log1p(x); };
  EXPECT_LE(worst_ulps(arguments(-1.0 + 0x1p-53, 1e300), math::log1p, reference), 2.0);
  EXPECT_LE(worst_ulps(arguments(-0.99, 3.0), math::log1p, reference), 2.0);
}

TEST(Elementary, PowIsWithinTwoUlps) {
  for (const double y : {0.5, -0.5, 2.0, 3.0, 1000.0, -77.7, 1e6, 1e-3, 1e15}) {
    const auto ours = [y](double x) { return math::pow(x, y); };
    const auto reference = [y](long double x) { return std::pow(x, static_cast<long double>(y)); };
    const double reach = std::min(300.0, 690.0 / std::abs(y));
    EXPECT_LE(worst_ulps(arguments(std::exp(-reach), std::exp(reach), 20'000), ours, reference), 2.0) << y;
  }
}

TEST(Elementary, CosIsWithinTwoUlps) {
  const auto reference = [](long double x) { return std::cos(x); };
  EXPECT_LE(worst_ulps(arguments(-7.0, 7.0), math::cos, reference), 2.0);
  EXPECT_LE(worst_ulps(arguments(-100'000.0, 100'000.0), math::cos, reference), 2.0);
  const double half_pi = 0x1.921fb54442d18p+0;
  EXPECT_LE(ulps(math::cos(half_pi), std::cos(static_cast<long double>(half_pi))), 2.0);
}

TEST(Elementary, SigmoidAndSoftplusAreWithinThreeUlps) {
  EXPECT_LE(
      worst_ulps(arguments(-745.0, 60.0), math::sigmoid, [](long double x) { return 1.0L / (1.0L + std::exp(-x)); }),
      3.0);
  EXPECT_LE(worst_ulps(arguments(-745.0, 60.0), math::softplus, [](long double x) { return std::log1p(std::exp(x)); }),
            3.0);
}

TEST(Elementary, LogisticHasTheBitsOfItsParts) {
  for (const double x : arguments(-745.0, 745.0)) {
    const auto all = math::logistic(x);
    ASSERT_EQ(all.sigmoid, math::sigmoid(x)) << x;
    ASSERT_EQ(all.softplus, math::softplus(x)) << x;
    ASSERT_EQ(all.minus_softplus, math::softplus(-x)) << x;
  }
}

TEST(Elementary, FollowsIeeeAtTheEdges) {
  EXPECT_EQ(math::exp(kInfinity), kInfinity);
  EXPECT_EQ(math::exp(-kInfinity), 0.0);
  EXPECT_EQ(math::exp(1000.0), kInfinity);
  EXPECT_EQ(math::exp(-1000.0), 0.0);
  EXPECT_EQ(math::exp(0.0), 1.0);
  EXPECT_EQ(math::expm1(-kInfinity), -1.0);
  EXPECT_EQ(math::expm1(kInfinity), kInfinity);
  EXPECT_EQ(math::log(0.0), -kInfinity);
  EXPECT_EQ(math::log(kInfinity), kInfinity);
  EXPECT_EQ(math::log(1.0), 0.0);
  EXPECT_EQ(math::log1p(-1.0), -kInfinity);
  EXPECT_EQ(math::log1p(kInfinity), kInfinity);
  EXPECT_EQ(math::pow(0.0, 2.0), 0.0);
  EXPECT_EQ(math::pow(0.0, -2.0), kInfinity);
  EXPECT_EQ(math::pow(kInfinity, -1.0), 0.0);
  EXPECT_EQ(math::pow(2.0, kInfinity), kInfinity);
  EXPECT_EQ(math::pow(0.5, kInfinity), 0.0);
  EXPECT_EQ(math::pow(0.5, -1e300), kInfinity);
  EXPECT_EQ(math::pow(2.0, 10.0), 1024.0);
  EXPECT_EQ(math::pow(0.9, 1.0), 0.9);
  EXPECT_EQ(math::pow(kNan, 0.0), 1.0);
  EXPECT_EQ(math::pow(1.0, kNan), 1.0);
  EXPECT_EQ(math::cos(0.0), 1.0);
  EXPECT_EQ(math::sigmoid(0.0), 0.5);
  EXPECT_EQ(math::logistic(kInfinity).minus_softplus, 0.0);
  EXPECT_EQ(math::logistic(-kInfinity).minus_softplus, kInfinity);
  EXPECT_EQ(math::sigmoid(kInfinity), 1.0);
  EXPECT_EQ(math::sigmoid(-kInfinity), 0.0);
  EXPECT_EQ(math::softplus(kInfinity), kInfinity);
  EXPECT_EQ(math::softplus(-kInfinity), 0.0);
}

TEST(Elementary, KeepsNanAndRefusesWhatIsUndefined) {
  for (double (*function)(double) noexcept :
       {math::exp, math::expm1, math::log, math::log1p, math::cos, math::sigmoid, math::softplus}) {
    EXPECT_TRUE(std::isnan(function(kNan)));
  }
  EXPECT_TRUE(std::isnan(math::log(-1.0)));
  EXPECT_TRUE(std::isnan(math::log1p(-1.5)));
  EXPECT_TRUE(std::isnan(math::pow(-2.0, 2.0)));
  EXPECT_TRUE(std::isnan(math::pow(kNan, 2.0)));
  EXPECT_TRUE(std::isnan(math::pow(2.0, kNan)));
  EXPECT_TRUE(std::isnan(math::cos(kInfinity)));
  EXPECT_TRUE(std::isnan(math::cos(1e9)));
}

}  // namespace
}  // namespace virga
