#include "virga/base/system_random.h"

#include <array>

#include <gtest/gtest.h>

namespace virga {
namespace {

TEST(SystemRandomTest, GivesOtherBytesEachTime) {
  std::array<std::byte, 256> first{}, second{};
  fill_with_system_random(first);
  fill_with_system_random(second);
  EXPECT_NE(first, second);
  EXPECT_NE(first, (std::array<std::byte, 256>{}));
}

}  // namespace
}  // namespace virga
