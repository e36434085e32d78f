#include "virga/cost/usd.h"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "virga/base/error.h"

namespace virga {
namespace {

TEST(UsdTest, AddsUpWhatIsTooSmallForDoublesBesideLargeAmounts) {
  auto sum = Usd::of(1e6);
  for (int i = 0; i < 1000; ++i) sum += Usd::picodollars(1);
  EXPECT_EQ(sum - Usd::of(1e6), Usd::picodollars(1000));
}

TEST(UsdTest, RoundsToTheNearest) {
  EXPECT_EQ(Usd::of(1.6e-12), Usd::picodollars(2));
  EXPECT_EQ(Usd::of(0.0000166667), Usd::picodollars(16'666'700));
  EXPECT_EQ(Usd::of(0.0000166667).dollars(), 0.0000166667);
}

TEST(UsdTest, RefusesWhatIsNoAmount) {
  for (const double wrong : {-1e-12, 9.1e6, std::nan(""), std::numeric_limits<double>::infinity()}) {
    EXPECT_THROW(static_cast<void>(Usd::of(wrong)), Error) << wrong;
  }
  EXPECT_EQ(Usd::of(9e6), Usd::most());
}

TEST(UsdTest, StaysAtTheMostInsteadOfWrappingAround) {
  EXPECT_GE(Usd::most() + Usd::most(), Usd::most());
  EXPECT_LT(Usd() - Usd::most() - Usd::most(), Usd());
  EXPECT_LT(Usd() - Usd::most(), Usd::of(1) - Usd::most());
}

TEST(UsdTest, IsWrittenWithThreeDigitsBelowADollar) {
  EXPECT_EQ(format_usd(Usd()), "$0");
  EXPECT_EQ(format_usd(Usd::of(0.00031249)), "$0.000312");
  EXPECT_EQ(format_usd(Usd::of(0.5)), "$0.500");
  EXPECT_EQ(format_usd(Usd::of(1.254)), "$1.25");
  EXPECT_EQ(format_usd(Usd::of(12345)), "$12345.00");
}

}  // namespace
}  // namespace virga
