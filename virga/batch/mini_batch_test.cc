#include "virga/batch/mini_batch.h"

#include <algorithm>
#include <set>

#include <gmock/gmock.h>

#include "virga/base/random.h"

namespace virga {
namespace {

using testing::IsEmpty;

/// A sparse group of random rows; every feature of its dictionary occurs.
RowGroupPtr random_group(std::uint32_t rows, std::uint32_t features, std::uint32_t most_entries, std::uint64_t seed) {
  const Random random(seed, Purpose::kTest);
  std::vector<std::set<std::uint32_t>> entries(rows);
  std::set<std::uint32_t> dictionary;
  for (std::uint32_t row = 0; row < rows; ++row) {
    const auto count = random.below(most_entries + 1, 0, row);
    for (std::uint32_t e = 0; e < count; ++e)
      entries[row].insert(static_cast<std::uint32_t>(random.below(features, 1, row, e)));
    dictionary.insert(entries[row].begin(), entries[row].end());
  }
  RowGroup group;
  group.rows = rows;
  group.keys.assign(dictionary.begin(), dictionary.end());
  group.row_begin = {0};
  for (const auto& row : entries) {
    for (const auto key : row) {
      const auto local = static_cast<std::uint32_t>(std::ranges::lower_bound(group.keys, key) - group.keys.begin());
      if (group.wide()) {
        group.indices32.push_back(local);
      } else {
        group.indices16.push_back(static_cast<std::uint16_t>(local));
      }
    }
    group.row_begin.push_back(static_cast<std::uint32_t>(std::max(group.indices16.size(), group.indices32.size())));
  }
  group.labels.resize(rows);
  return std::make_shared<RowGroup>(std::move(group));
}

std::set<std::uint32_t> keys_of(const RowGroup& group, std::uint32_t first_row, std::uint32_t last_row) {
  std::set<std::uint32_t> keys;
  for (auto e = group.row_begin[first_row]; e < group.row_begin[last_row]; ++e) keys.insert(group.keys[group.index(e)]);
  return keys;
}

/// Holds `batch` against the definition, key by key.
void expect_right(const MiniBatch& batch, const std::vector<RowRange>& ranges) {
  std::set<std::uint32_t> expected;
  std::uint64_t rows = 0;
  std::vector<RowRange> filled;
  for (const auto& range : ranges) {
    if (range.first_row < range.last_row) filled.push_back(range);
  }
  ASSERT_EQ(batch.slices.size(), filled.size());
  for (std::size_t s = 0; s < filled.size(); ++s) {
    const auto& slice = batch.slices[s];
    const auto keys = keys_of(*filled[s].group, filled[s].first_row, filled[s].last_row);
    expected.insert(keys.begin(), keys.end());
    rows += filled[s].last_row - filled[s].first_row;
    std::vector<std::uint32_t> translated;
    const auto count = slice.all_used ? slice.group->keys.size() : slice.used.size();
    ASSERT_TRUE(slice.positions.empty() || slice.positions.size() == count);
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto local = slice.all_used ? i : slice.used[i];
      const auto position = slice.positions.empty() ? i : slice.positions[i];
      ASSERT_LT(position, batch.keys.size());
      ASSERT_EQ(batch.keys[position], slice.group->keys[local]);
      translated.push_back(batch.keys[position]);
    }
    EXPECT_EQ(translated, std::vector<std::uint32_t>(keys.begin(), keys.end()));
  }
  EXPECT_EQ(batch.rows, rows);
  EXPECT_EQ(batch.keys, std::vector<std::uint32_t>(expected.begin(), expected.end()));
}

TEST(BatchAssembler, TakesTheDictionaryOfAWholeGroupAsItIs) {
  const auto group = random_group(50, 1000, 8, 1);
  const auto batch = BatchAssembler(1000).assemble(std::vector<RowRange>{{group, 0, 50}});
  expect_right(batch, {{group, 0, 50}});
  EXPECT_TRUE(batch.slices[0].all_used);
  EXPECT_THAT(batch.slices[0].positions, IsEmpty());
}

TEST(BatchAssembler, FindsExactlyTheKeysOfRandomSlices) {
  // Few features make the bitmap pay, many the merge; both must find the same.
  for (const std::uint32_t features : {200U, 5'000U, 2'000'000U}) {
    const std::vector<RowGroupPtr> groups = {random_group(100, features, 12, 1), random_group(100, features, 3, 2),
                                             random_group(7, features, 40, 3)};
    BatchAssembler assembler(features);
    const Random random(features, Purpose::kTest);
    for (std::uint32_t trial = 0; trial < 200; ++trial) {
      std::vector<RowRange> ranges;
      for (std::uint64_t r = 0; r < random.below(5, 2, trial); ++r) {
        const auto& group = groups[random.below(groups.size(), 3, trial, static_cast<std::uint32_t>(r))];
        auto first = static_cast<std::uint32_t>(random.below(group->rows + 1, 4, trial, static_cast<std::uint32_t>(r)));
        auto last = static_cast<std::uint32_t>(random.below(group->rows + 1, 5, trial, static_cast<std::uint32_t>(r)));
        if (first > last) std::swap(first, last);
        ranges.push_back({group, first, last});
      }
      ASSERT_NO_FATAL_FAILURE(expect_right(assembler.assemble(ranges), ranges)) << features << " " << trial;
    }
  }
}

TEST(BatchAssembler, HandlesDictionariesThatNeedWideIndices) {
  const auto group = random_group(4'000, 1'000'000, 60, 1);
  ASSERT_TRUE(group->wide());
  BatchAssembler assembler(1'000'000);
  for (const auto& ranges :
       {std::vector<RowRange>{{group, 17, 3'000}}, std::vector<RowRange>{{group, 0, 4'000}, {group, 5, 9}}}) {
    expect_right(assembler.assemble(ranges), ranges);
  }
}

TEST(BatchAssembler, KnowsRowsWithoutEntriesFromRowsThatUseAll) {
  RowGroup empty_rows;
  empty_rows.rows = 3;
  empty_rows.keys = {4, 9};
  empty_rows.row_begin = {0, 0, 2, 2};
  empty_rows.indices16 = {0, 1};
  empty_rows.labels.resize(3);
  const auto group = std::make_shared<RowGroup>(empty_rows);
  const auto batch = BatchAssembler(10).assemble(std::vector<RowRange>{{group, 0, 1}, {group, 2, 3}});
  EXPECT_EQ(batch.rows, 2U);
  EXPECT_THAT(batch.keys, IsEmpty());
  for (const auto& slice : batch.slices) {
    EXPECT_FALSE(slice.all_used);
    EXPECT_THAT(slice.used, IsEmpty());
  }
}

TEST(BatchAssembler, GivesDenseGroupsNoKeys) {
  RowGroup dense;
  dense.rows = 2;
  dense.dense = true;
  dense.columns = 2;
  dense.matrix = {1, 2, 3, 4};
  dense.labels = {0, 1};
  const auto batch = BatchAssembler(2).assemble(std::vector<RowRange>{{std::make_shared<RowGroup>(dense), 1, 2}});
  EXPECT_EQ(batch.rows, 1U);
  EXPECT_THAT(batch.keys, IsEmpty());
}

TEST(BatchAssembler, LeavesOutRangesWithoutRows) {
  const auto group = random_group(5, 20, 4, 1);
  const auto batch = BatchAssembler(20).assemble(std::vector<RowRange>{{group, 2, 2}});
  EXPECT_EQ(batch.rows, 0U);
  EXPECT_THAT(batch.slices, IsEmpty());
}

}  // namespace
}  // namespace virga
