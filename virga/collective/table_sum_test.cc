#include "virga/collective/table_sum.h"

#include <bit>
#include <cmath>
#include <map>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "virga/base/random.h"
#include "virga/collective/tree_sum.h"

namespace virga {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::IsEmpty;

struct Rows {
  std::vector<std::uint32_t> keys;
  std::vector<float> values;
};

Rows random_rows(std::uint32_t part, std::size_t width, double share) {
  const Random random(5, Purpose::kTest);
  Rows rows;
  for (std::uint32_t key = 0; key < 300; ++key) {
    if (random.uniform(part, key) >= share) continue;
    rows.keys.push_back(key);
    for (std::uint32_t c = 0; c < width; ++c) {
      rows.values.push_back(static_cast<float>(std::exp2(20 * random.uniform(part, key, 2 + c)) - 1000));
    }
  }
  return rows;
}

/// Key by key: the parts that have it, in the order of the tree.
Rows slow_sum(const std::vector<Rows>& parts, std::size_t width) {
  std::map<std::uint32_t, std::vector<std::vector<float>>> of_key;  // empty where a part has none
  for (std::size_t p = 0; p < parts.size(); ++p) {
    for (std::size_t k = 0; k < parts[p].keys.size(); ++k) {
      auto& rows = of_key[parts[p].keys[k]];
      rows.resize(parts.size());
      const auto* row = parts[p].values.data() + k * width;
      rows[p].assign(row, row + width);
    }
  }
  Rows sum;
  for (auto& [key, rows] : of_key) {
    tree_sum(std::span(rows), [](std::vector<float>& left, const std::vector<float>& right) {
      if (left.empty())
        left = right;
      else
        for (std::size_t c = 0; c < right.size(); ++c) left[c] += right[c];
    });
    sum.keys.push_back(key);
    sum.values.insert(sum.values.end(), rows[0].begin(), rows[0].end());
  }
  return sum;
}

TEST(TableSum, AddsSparsePartsInTheOrderOfTheTree) {
  TableSum table_sum;
  for (const std::size_t width : {1U, 3U, 40U}) {
    for (const std::uint32_t ranks : {1U, 2U, 3U, 5U, 8U}) {
      for (const double share : {0.02, 0.5, 1.0}) {
        std::vector<Rows> rows;
        for (std::uint32_t r = 0; r < ranks; ++r) rows.push_back(random_rows(r, width, r == 2 ? 0 : share));
        std::vector<SparsePart> parts;
        parts.reserve(rows.size());
        for (const auto& part : rows) parts.push_back({part.keys, part.values});

        const auto found = table_sum.sparse(parts, width);

        const auto expected = slow_sum(rows, width);
        EXPECT_THAT(found.keys, ElementsAreArray(expected.keys));
        EXPECT_THAT(found.values, ElementsAreArray(expected.values));
      }
    }
  }
}

TEST(TableSum, TakesNothingForNothingNotForZero) {
  TableSum table_sum;
  const std::vector<std::uint32_t> one = {1}, other = {2};
  const std::vector<float> minus_zero = {-0.0F}, three = {3};
  std::vector<SparsePart> parts = {{one, minus_zero}, {other, three}, {}};
  const auto sum = table_sum.sparse(parts, 1);
  EXPECT_THAT(sum.keys, ElementsAre(1, 2));
  EXPECT_TRUE(std::signbit(sum.values[0]));  // -0 + 0 would be +0

  std::vector<std::span<const float>> whole = {{}, minus_zero, {}};
  EXPECT_TRUE(std::signbit(table_sum.whole(whole)[0]));
}

TEST(TableSum, AddsWholePartsInTheOrderOfTheTree) {
  constexpr float kSmall = 0x1p-24F;  // 1 + kSmall is 1, 1 + (kSmall + kSmall) is not
  const std::vector<float> a = {1, 1}, b = {kSmall, 0}, c = {kSmall, kSmall}, d = {kSmall, kSmall};
  TableSum table_sum;
  std::vector<std::span<const float>> four = {a, b, c, d};
  EXPECT_THAT(table_sum.whole(four), ElementsAre(1 + 2 * kSmall, 1 + 2 * kSmall));
  std::vector<std::span<const float>> three = {a, b, c};
  EXPECT_THAT(table_sum.whole(three), ElementsAre(1, 1));
  std::vector<std::span<const float>> gap = {a, {}, c, d};
  EXPECT_THAT(table_sum.whole(gap), ElementsAre(1 + 2 * kSmall, 1 + 2 * kSmall));
}

TEST(TableSum, OfNothingIsNothing) {
  TableSum table_sum;
  std::vector<SparsePart> none, empty(3);
  EXPECT_THAT(table_sum.sparse(none, 1).keys, IsEmpty());
  EXPECT_THAT(table_sum.sparse(empty, 1).keys, IsEmpty());
  std::vector<std::span<const float>> no_parts, no_values(3);
  EXPECT_THAT(table_sum.whole(no_parts), IsEmpty());
  EXPECT_THAT(table_sum.whole(no_values), IsEmpty());
}

TEST(KeyRange, CutsKeysAndRowsAlike) {
  const std::vector<std::uint32_t> keys = {2, 5, 0xffffffffU};
  const std::vector<float> values = {20, 21, 50, 51, 90, 91};
  const SparsePart part{keys, values};
  EXPECT_THAT(key_range(part, 2, 0, 5).values, ElementsAre(20, 21));
  EXPECT_THAT(key_range(part, 2, 5, 6).keys, ElementsAre(5));
  EXPECT_THAT(key_range(part, 2, 3, 3).keys, IsEmpty());
  EXPECT_THAT(key_range(part, 2, 3, std::uint64_t{1} << 32).values, ElementsAre(50, 51, 90, 91));
  EXPECT_THAT(key_range({}, 2, 0, 9).keys, IsEmpty());
}

TEST(TableSum, AddsDoublesInTheOrderOfTheTree) {
  const std::vector<std::vector<std::uint32_t>> keys = {{1, 4}, {4}, {2, 4}, {4, 9}};
  const std::vector<std::vector<double>> values = {{1, 2, 0x1p53, 3}, {1, 4}, {7, 8, -0x1p53, 5}, {1, 6, 9, 10}};
  std::vector<SparsePart> parts;
  for (std::size_t p = 0; p < keys.size(); ++p) parts.push_back({keys[p], {}, values[p]});
  TableSum table_sum;
  const auto sum = table_sum.sparse(parts, 2);
  EXPECT_THAT(sum.keys, ElementsAre(1, 2, 4, 9));
  // Of key 4: (2^53 + 1) + (-2^53 + 1), of which the first is rounded to 2^53.
  EXPECT_THAT(sum.doubles, ElementsAre(1, 2, 7, 8, 1, 18, 9, 10));
  EXPECT_THAT(sum.values, IsEmpty());
  const auto high = key_range(sum, 2, 4, 9);
  EXPECT_THAT(high.keys, ElementsAre(4));
  EXPECT_THAT(high.doubles, ElementsAre(1, 18));

  std::vector<std::span<const double>> whole = {values[0], {}, values[2], values[3]};
  EXPECT_THAT(table_sum.whole(whole), ElementsAre(9, 16, 9, 18));
}

}  // namespace
}  // namespace virga
