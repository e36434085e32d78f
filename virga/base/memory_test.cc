#include "virga/base/memory.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "virga/base/array.h"

namespace virga {
namespace {

constexpr std::size_t kSizes[] = {0, 1, 1000, 65'535, 65'536, 65'537, 300'001, 5'000'003};

TEST(Populate, ChangesNothing) {
  for (const auto size : kSizes) {
    std::vector<std::uint32_t> values(size + 1);
    std::iota(values.begin(), values.end(), 7U);
    const auto before = values;
    populate(values.data() + 1, size * sizeof(std::uint32_t));  // not at the beginning of a page
    EXPECT_EQ(values, before);
  }
}

TEST(Zeros, AreZeroInMemoryThatWasUsed) {
  for (const auto size : kSizes) {
    for (int again = 0; again < 3; ++again) {
      auto values = zeros<float>(size);
      EXPECT_EQ(values.size(), size);
      EXPECT_TRUE(std::ranges::all_of(values, [](float x) { return x == 0; }));
      std::ranges::fill(values, 1.0F);
    }
  }
}

TEST(ZeroedAllocator, GivesZerosInMemoryThatWasUsed) {
  for (const auto size : kSizes) {
    for (int again = 0; again < 3; ++again) {
      std::vector<std::uint32_t, ZeroedAllocator<std::uint32_t>> values;
      values.resize(size);
      EXPECT_EQ(values.size(), size);
      EXPECT_TRUE(std::ranges::all_of(values, [](std::uint32_t x) { return x == 0; }));
      std::ranges::fill(values, ~0U);
      const auto moved = std::move(values);
      EXPECT_TRUE(std::ranges::all_of(moved, [](std::uint32_t x) { return x == ~0U; }));
    }
  }
}

TEST(Array, KeepsWhatItWasGivenAndComparesWithVectors) {
  Array<float> values = {1, 2};
  values.push_back(3);
  values.resize(5);
  values[3] = 4;
  values[4] = 5;
  EXPECT_EQ(values, (Array<float>{1, 2, 3, 4, 5}));
  EXPECT_EQ(values, (std::vector<float>{1, 2, 3, 4, 5}));
  EXPECT_NE(values, (std::vector<float>{1, 2, 3, 4}));
  values.assign(100'000, 8.0F);
  EXPECT_TRUE(std::ranges::all_of(values, [](float x) { return x == 8; }));
}

}  // namespace
}  // namespace virga
