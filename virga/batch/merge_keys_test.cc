#include "virga/batch/merge_keys.h"

#include <algorithm>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "virga/base/random.h"

namespace virga {
namespace {

using Keys = std::vector<std::uint32_t>;

Keys random_keys(std::size_t count, std::uint32_t below, std::uint32_t stream) {
  const Random random(1, Purpose::kTest);
  std::set<std::uint32_t> keys;
  for (std::uint32_t i = 0; i < count; ++i) keys.insert(static_cast<std::uint32_t>(random.below(below, stream, i)));
  return {keys.begin(), keys.end()};
}

void expect_right(const Keys& a, const Keys& b) {
  Keys expected;
  std::ranges::set_union(a, b, std::back_inserter(expected));
  Keys keys(a.size() + b.size()), places_a(a.size()), places_b(b.size());
  keys.resize(merge_keys(a, b, keys, places_a, places_b));
  ASSERT_EQ(keys, expected);
  for (std::size_t i = 0; i < a.size(); ++i) ASSERT_EQ(keys.at(places_a[i]), a[i]);
  for (std::size_t i = 0; i < b.size(); ++i) ASSERT_EQ(keys.at(places_b[i]), b[i]);
}

TEST(MergeKeys, IsTheUnionOfListsOfAllSizes) {
  for (const std::size_t a : {0U, 1U, 2U, 3U, 4U, 17U, 1'000U}) {
    for (const std::size_t b : {0U, 1U, 2U, 3U, 5U, 100U, 3'000U}) {
      for (const std::uint32_t below : {1U, 8U, 500U, 4'000'000'000U}) {
        expect_right(random_keys(a, below, 0), random_keys(b, below, 1));
      }
    }
  }
}

TEST(MergeKeys, HandlesListsThatAreEqualApartOrInterleaved) {
  Keys even, odd, high;
  for (std::uint32_t i = 0; i < 1'000; ++i) {
    even.push_back(2 * i);
    odd.push_back(2 * i + 1);
    high.push_back(0xffffffffU - 1'000 + i);
  }
  expect_right(even, even);
  expect_right(even, odd);
  expect_right(odd, even);
  expect_right(even, high);
  expect_right(high, even);
}

}  // namespace
}  // namespace virga
