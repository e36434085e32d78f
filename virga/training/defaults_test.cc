#include "virga/training/defaults.h"

#include <gtest/gtest.h>

namespace virga {
namespace {

TEST(DefaultBatchSize, GrowsWithTheSet) {
  EXPECT_EQ(default_batch_size(0), 16U);
  EXPECT_EQ(default_batch_size(9'603), 16U);
  EXPECT_EQ(default_batch_size(32'561), 64U);
  EXPECT_EQ(default_batch_size(57'722), 128U);
  EXPECT_EQ(default_batch_size(399'999), 512U);
  EXPECT_EQ(default_batch_size(400'000), 4000U);
  EXPECT_EQ(default_batch_size(900'000), 8000U);
  EXPECT_EQ(default_batch_size(1'000'000'000'000), 8000U);
}

TEST(DefaultAdagradDecay, WeighsEpochKByTheCubeOfKPlusOne) {
  double weight_of_first = 1;
  for (std::uint32_t epoch = 0; epoch < 9; ++epoch) weight_of_first *= default_adagrad_decay(epoch);
  EXPECT_NEAR(weight_of_first, 1.0 / 1000, 1e-15);
}

}  // namespace
}  // namespace virga
