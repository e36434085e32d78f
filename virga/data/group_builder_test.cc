#include "virga/data/group_builder.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <gmock/gmock.h>

#include "virga/base/random.h"

namespace virga {
namespace {

struct Rows {
  std::vector<std::vector<std::uint32_t>> ids;
  std::vector<std::vector<float>> values;
  std::vector<RowView> views;
};

Rows random_rows(std::uint64_t seed, std::uint32_t count, std::uint32_t features, std::uint32_t first_id, bool ones) {
  const Random random(seed, Purpose::kTest);
  Rows rows;
  rows.ids.resize(count);
  rows.values.resize(count);
  for (std::uint32_t row = 0; row < count; ++row) {
    std::set<std::uint32_t> ids;
    for (std::uint32_t i = 0; i < random.below(50, 1, row); ++i) {
      // A few features are frequent.
      const auto range = random.below(2, 4, row, i) == 0 ? std::min(features, 10U) : features;
      ids.insert(first_id + static_cast<std::uint32_t>(random.below(range, 2, row, i)));
    }
    rows.ids[row].assign(ids.begin(), ids.end());
    for (std::uint32_t i = 0; i < ids.size(); ++i) {
      rows.values[row].push_back(ones ? 1 : static_cast<float>(random.uniform(3, row, i) * 4 - 2));
    }
    rows.views.push_back({.label = static_cast<double>(row % 3) - 1,
                          .weight = row % 7 == 0 ? 0.5F : 1.0F,
                          .count = static_cast<std::uint32_t>(ids.size()),
                          .ids = rows.ids[row].data(),
                          .values = rows.values[row].data(),
                          .ones = ones || row % 5 == 0});
    if (row % 5 == 0) std::ranges::fill(rows.values[row], 1.0F);
  }
  return rows;
}

TEST(GroupBuilder, BuildsTheGroupThatAMapBuilds) {
  for (const std::uint32_t features : {1U, 2U, 300U, 2048U, 2049U, 1U << 20, 0x7FFFFFFEU}) {
    for (const bool ones : {false, true}) {
      GroupBuilder builder({.features = features, .first_id = 1, .class_labels = {-1, 0, 1}});
      for (std::uint64_t seed = 0; seed < 3; ++seed) {  // scratch memory is used again
        const auto rows = random_rows(seed, 400, features, 1, ones);
        const auto group = builder.build(rows.views);
        std::set<std::uint32_t> keys;
        for (const auto& ids : rows.ids) {
          for (const auto id : ids) keys.insert(id - 1);
        }
        ASSERT_EQ(group.rows, 400U);
        ASSERT_TRUE(std::ranges::equal(group.keys, keys));
        ASSERT_EQ(group.values.empty(), ones);
        for (std::uint32_t row = 0; row < 400; ++row) {
          ASSERT_EQ(group.row_begin[row + 1] - group.row_begin[row], rows.ids[row].size());
          for (std::uint32_t i = 0; i < rows.ids[row].size(); ++i) {
            const auto entry = group.row_begin[row] + i;
            ASSERT_EQ(group.keys[group.index(entry)], rows.ids[row][i] - 1);
            if (!ones) {
              ASSERT_EQ(group.values[entry], rows.values[row][i]);
            }
          }
          ASSERT_EQ(group.labels[row], static_cast<float>(row % 3));
          ASSERT_EQ(group.weights[row], row % 7 == 0 ? 0.5F : 1.0F);
        }
      }
    }
  }
}

TEST(GroupBuilder, TakesDictionariesBeyondSixteenBits) {
  std::vector<std::uint32_t> ids(70'000);
  for (std::uint32_t i = 0; i < ids.size(); ++i) ids[i] = i * 5;
  const RowView row{.count = 70'000, .ids = ids.data(), .ones = true};
  const auto group = GroupBuilder({.features = 350'000}).build(std::vector{row, row});
  EXPECT_TRUE(group.wide());
  EXPECT_EQ(group.keys, ids);
  EXPECT_EQ(group.indices32[70'000 + 69'999], 69'999U);
  EXPECT_TRUE(group.indices16.empty());
  EXPECT_TRUE(group.weights.empty());
}

TEST(GroupBuilder, BuildsDenseGroupsAndEmptyRows) {
  const std::vector<float> values = {1, 2, 3};
  const RowView row{.label = 0.25, .count = 3, .values = values.data()};
  const auto dense = GroupBuilder({.dense = true, .features = 3}).build(std::vector{row, row});
  EXPECT_THAT(dense.matrix, testing::ElementsAre(1, 2, 3, 1, 2, 3));
  EXPECT_THAT(dense.labels, testing::ElementsAre(0.25F, 0.25F));
  const auto empty = GroupBuilder({.features = 3}).build(std::vector{RowView{}, RowView{}});
  EXPECT_THAT(empty.row_begin, testing::ElementsAre(0U, 0U, 0U));
  EXPECT_TRUE(empty.keys.empty());
}

TEST(FeatureStatistics, KnowTheLargestMagnitudesAndTheQuantiles) {
  constexpr std::uint32_t kFeatures = 500;
  FeatureStatistics statistics(kFeatures, true);
  GroupBuilder builder({.features = kFeatures});
  std::map<std::uint32_t, float> largest;
  std::vector<std::uint32_t> all;
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const auto rows = random_rows(seed, 200, kFeatures, 0, false);
    static_cast<void>(builder.build(rows.views, &statistics));
    for (std::size_t row = 0; row < rows.ids.size(); ++row) {
      for (std::size_t i = 0; i < rows.ids[row].size(); ++i) {
        auto& magnitude = largest[rows.ids[row][i]];
        magnitude = std::max(magnitude, std::abs(rows.values[row][i]));
        all.push_back(rows.ids[row][i]);
      }
    }
  }
  const auto max_abs = statistics.max_abs();
  for (std::uint32_t feature = 0; feature < kFeatures; ++feature) {
    EXPECT_EQ(max_abs[feature], largest.contains(feature) ? largest[feature] : 0);
  }
  const auto quantiles = statistics.key_quantiles(17);
  ASSERT_EQ(quantiles.size(), 17U);
  for (std::size_t i = 0; i < 17; ++i) {
    const auto below = [&](std::uint32_t cut) {
      return static_cast<std::size_t>(std::ranges::count_if(all, [&](std::uint32_t key) { return key < cut; }));
    };
    EXPECT_GE(below(quantiles[i]) * 16, all.size() * i);
    if (quantiles[i] > 0) {
      EXPECT_LT(below(quantiles[i] - 1) * 16, all.size() * i);
    }
  }
}

TEST(FeatureStatistics, CountManyFeaturesInRanges) {
  FeatureStatistics statistics(0x7FFFFFFE, false);
  const std::vector<std::uint32_t> keys = {0, 1U << 30, 0x7FFFFFFD};
  const std::vector<std::uint32_t> counts = {1, 2, 1};
  statistics.add(keys, counts, {});
  const auto quantiles = statistics.key_quantiles(5);
  EXPECT_EQ(quantiles.front(), 0U);
  EXPECT_GT(quantiles[1], 0U);
  EXPECT_LE(quantiles[1], 1U << 11);
  EXPECT_GT(quantiles[2], 1U << 30);
  EXPECT_LE(quantiles[2], (1U << 30) + (1U << 11));
  EXPECT_EQ(quantiles[4], 0x7FFFFFFEU);
  EXPECT_TRUE(statistics.max_abs().empty());
}

}  // namespace
}  // namespace virga
