#include "virga/optimizer/schedule.h"

#include <cmath>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "virga/base/error.h"

namespace virga {
namespace {

std::vector<double> factors(ScheduleKind kind, std::uint32_t epochs) {
  std::vector<double> result;
  for (std::uint32_t epoch = 0; epoch <= epochs; ++epoch) result.push_back(schedule_factor(kind, epoch, epochs));
  return result;
}

TEST(ScheduleTest, FollowsItsFormula) {
  using testing::ElementsAre;
  EXPECT_THAT(factors(ScheduleKind::kConstant, 2), ElementsAre(1, 1, 1));
  EXPECT_THAT(factors(ScheduleKind::kLinear, 4), ElementsAre(1, 0.75, 0.5, 0.25, 0));
  EXPECT_THAT(factors(ScheduleKind::kDefault, 4), ElementsAre(0.25, 0.75, 0.5, 0.25, 0));
  EXPECT_THAT(factors(ScheduleKind::kInverseSqrt, 3), ElementsAre(1, 1 / std::sqrt(2.0), 1 / std::sqrt(3.0), 0.5));
  EXPECT_THAT(factors(ScheduleKind::kStep, 4), ElementsAre(1, 1, 0.1, 0.01, 0.01));
}

TEST(ScheduleTest, FollowsHalfACosine) {
  const auto found = factors(ScheduleKind::kCosine, 6);
  for (std::size_t epoch = 0; epoch < found.size(); ++epoch) {
    // Within the 2 units in the last place of math::cos, next to 1.
    EXPECT_NEAR(found[epoch], 0.5 * (1 + std::cos(std::acos(-1.0) * static_cast<double>(epoch) / 6)), 1e-15);
  }
  EXPECT_EQ(found.front(), 1);
  EXPECT_EQ(found.back(), 0);
}

TEST(ScheduleTest, KnowsItsNamesAndRefusesOthers) {
  EXPECT_EQ(schedule_kind("auto"), ScheduleKind::kDefault);
  EXPECT_EQ(schedule_kind("constant"), ScheduleKind::kConstant);
  EXPECT_EQ(schedule_kind("inverse-sqrt"), ScheduleKind::kInverseSqrt);
  EXPECT_EQ(schedule_kind("linear"), ScheduleKind::kLinear);
  EXPECT_EQ(schedule_kind("cosine"), ScheduleKind::kCosine);
  EXPECT_EQ(schedule_kind("step"), ScheduleKind::kStep);
  try {
    static_cast<void>(schedule_kind("exponential"));
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_THAT(error.what(), testing::HasSubstr("'exponential'"));
    EXPECT_THAT(error.remedy(), testing::HasSubstr("cosine"));
  }
}

}  // namespace
}  // namespace virga
