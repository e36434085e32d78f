#include "virga/exchange/mean.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace virga {
namespace {

TEST(DivideFinite, DividesExactly) {
  std::vector<float> sum, mean(37);
  for (int i = 0; i < 37; ++i) sum.push_back(static_cast<float>(i * i) - 100.5F);
  EXPECT_TRUE(divide_finite(sum, 7.0F, mean));
  for (std::size_t i = 0; i < sum.size(); ++i) EXPECT_EQ(mean[i], sum[i] / 7.0F);
}

TEST(DivideFinite, SeesWhatIsNotFiniteAnywhere) {
  for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::max()}) {
    for (std::size_t at = 0; at < 37; ++at) {
      std::vector<float> sum(37, 1.0F), mean(37);
      sum[at] = bad;
      EXPECT_FALSE(divide_finite(sum, 0.5F, mean)) << bad << " at " << at;
    }
  }
}

}  // namespace
}  // namespace virga
