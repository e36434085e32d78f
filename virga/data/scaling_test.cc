#include "virga/data/scaling.h"

#include <gmock/gmock.h>

#include "virga/data/groups_testing.h"

namespace virga {
namespace {

using Values = GroupShape::Values;

/// Entry by entry, as the manifest defines it.
std::vector<float> reference(const Encoding& encoding, const RowGroup& group) {
  std::vector<float> result;
  for (std::size_t i = 0; i < group.nonzeros(); ++i) {
    const auto feature = group.dense ? static_cast<std::uint32_t>(i % group.columns) : group.keys[group.index(i)];
    const auto raw = group.dense ? group.matrix[i] : group.values.empty() ? 1.0F : group.values[i];
    result.push_back(scaled(encoding, feature, raw));
  }
  return result;
}

std::vector<float> random_values(std::uint32_t count, std::uint64_t seed) {
  TestRandom random(seed);
  std::vector<float> values(count);
  for (auto& value : values) value = static_cast<float>(random.uniform() + 0.5);
  return values;
}

TEST(Scale, DoesToEachEntryWhatTheManifestSays) {
  for (const bool dense : {false, true}) {
    for (const auto values : {Values::kOnes, Values::kBytes, Values::kFloats}) {
      for (const std::uint32_t offsets : {0U, 1U, 50U}) {
        for (const std::uint32_t factors : {0U, 1U, 50U}) {
          Encoding encoding{.features = 50};
          encoding.scale_offset = random_values(offsets, 1);
          encoding.scale_factor = random_values(factors, 2);
          auto group = test_group({.rows = 20, .features = 50, .row_length = 10, .values = values, .dense = dense}, 3);
          const auto expected = reference(encoding, group);
          scale(encoding, group);
          if (group.values.empty() && !dense) group.values.assign(group.nonzeros(), 1.0F);
          EXPECT_EQ(dense ? group.matrix : group.values, expected);
        }
      }
    }
  }
}

TEST(Scale, ReachesWideIndices) {
  constexpr std::uint32_t kKeys = 70000;
  RowGroup group{.rows = 1, .row_begin = {0, kKeys}, .labels = {0}};
  for (std::uint32_t i = 0; i < kKeys; ++i) group.keys.push_back(2 * i);
  for (std::uint32_t i = 0; i < kKeys; ++i) group.indices32.push_back(i);
  Encoding encoding{.features = 2 * kKeys};
  encoding.scale_factor = random_values(encoding.features, 2);
  const auto expected = reference(encoding, group);
  scale(encoding, group);
  EXPECT_EQ(group.values, expected);
}

TEST(Scale, LeavesValuesOutWhereAllStayOne) {
  RowGroup group{.rows = 1, .keys = {0, 2}, .row_begin = {0, 2}, .indices16 = {0, 1}, .labels = {0}};
  Encoding encoding{.features = 3};
  encoding.scale_factor = {1, 0.5F, 1};
  scale(encoding, group);
  EXPECT_THAT(group.values, testing::IsEmpty());
  encoding.scale_factor[2] = 0.25F;
  scale(encoding, group);
  EXPECT_THAT(group.values, testing::ElementsAre(1, 0.25F));
}

}  // namespace
}  // namespace virga
