#include "virga/data/loader.h"

#include <algorithm>
#include <atomic>
#include <tuple>

#include <gmock/gmock.h>

#include "virga/base/threads.h"
#include "virga/data/set_testing.h"

namespace virga {
namespace {

constexpr std::uint64_t kPlenty = std::uint64_t{1} << 30;
constexpr std::uint64_t kBatch = 37;

/// 30 groups of 10 rows (the last of 7) in about 6 blocks.
TestSet::Options small_set() {
  return {.train_rows = 297,
          .validation_rows = 25,
          .shape = {.rows = 10, .features = 500, .row_length = 8},
          .block_bytes = 1024};
}

/// The labels of a mini-batch's rows, which number them.
std::vector<float> labels_of(const MiniBatch& batch) {
  std::vector<float> labels;
  for (const auto& slice : batch.slices) {
    labels.insert(labels.end(), slice.group->labels.begin() + slice.first_row,
                  slice.group->labels.begin() + slice.last_row);
  }
  return labels;
}

/// The same, by the schedule alone.
std::vector<float> expected_labels(TestSet& set, const Schedule& schedule, std::uint64_t round, std::uint32_t rank,
                                   std::uint32_t world_size) {
  std::vector<float> labels;
  const auto order = schedule.order(schedule.epoch_of(round));
  const auto& blocks = set.manifest().train.blocks;
  for (const auto& rows : schedule.rows_of(order, schedule.step_of(round), rank, world_size)) {
    std::uint64_t first = std::uint64_t{10} * rows.group;
    for (std::uint32_t block = 0; block < rows.block; ++block) first += blocks[block].rows;
    for (auto row = rows.first_row; row < rows.last_row; ++row) labels.push_back(static_cast<float>(first + row));
  }
  return labels;
}

class BatchSourceTest : public testing::TestWithParam<std::size_t> {
 protected:
  TestSet set_{small_set()};
  const Schedule schedule_{set_.manifest().train, 10, 1, kBatch};
  GroupCache cache_{set_.store(), set_.manifest(), kPlenty};
};

TEST_P(BatchSourceTest, GivesTheRowsOfTheScheduleRoundByRound) {
  BatchSource source(cache_, schedule_, {.prefetch = GetParam()});
  for (std::uint64_t round = 0; round < 3 * schedule_.rounds_per_epoch(); ++round) {
    const auto& batch = source.batch(round);
    const auto labels = labels_of(batch);
    EXPECT_EQ(labels, expected_labels(set_, schedule_, round, 0, 1)) << "round " << round;
    EXPECT_EQ(batch.rows, labels.size());
  }
}

TEST_P(BatchSourceTest, GivesTheRightRowsAfterAnyJump) {
  BatchSource source(cache_, schedule_, {.prefetch = GetParam()});
  source.prepare_from(5);
  for (const std::uint64_t round : {5U, 6U, 7U, 3U, 3U, 4U, 40U, 41U, 0U, 1000000U, 1000001U}) {
    EXPECT_EQ(labels_of(source.batch(round)), expected_labels(set_, schedule_, round, 0, 1)) << "round " << round;
  }
  source.prepare_from(2);
  EXPECT_EQ(labels_of(source.batch(9)), expected_labels(set_, schedule_, 9, 0, 1));
}

TEST_P(BatchSourceTest, ServesTheFirstRoundFromWhatAnotherThreadMade) {
  BatchSource source(cache_, schedule_, {.prefetch = GetParam()});
  run_threads(2, [&](unsigned thread) {
    if (thread == 1) source.prepare_first(4);
  });
  const auto reads = cache_.statistics().decoded;
  EXPECT_EQ(reads > 0, GetParam() == 0);
  for (const std::uint64_t round : {4U, 6U, 4U}) {
    EXPECT_EQ(labels_of(source.batch(round)), expected_labels(set_, schedule_, round, 0, 1)) << "round " << round;
  }
  source.prepare_first(2);  // in vain
  EXPECT_EQ(labels_of(source.batch(3)), expected_labels(set_, schedule_, 3, 0, 1));
  EXPECT_EQ(labels_of(source.batch(2)), expected_labels(set_, schedule_, 2, 0, 1));
}

TEST_P(BatchSourceTest, ServesAllRanksAtOnce) {
  run_threads(3, [&](unsigned rank) {
    BatchSource source(cache_, schedule_, {.rank = rank, .world_size = 3, .prefetch = GetParam()});
    for (std::uint64_t round = 0; round < 20; ++round) {
      EXPECT_EQ(labels_of(source.batch(round)), expected_labels(set_, schedule_, round, rank, 3));
    }
  });
  EXPECT_EQ(cache_.statistics().decoded, 30U);
}

TEST_P(BatchSourceTest, GivesARankWithoutRowsAnEmptyBatch) {
  const Schedule schedule(set_.manifest().train, 10, 1, 2);
  BatchSource source(cache_, schedule, {.rank = 0, .world_size = 3, .prefetch = GetParam()});
  EXPECT_EQ(source.batch(0).rows, 0U);
}

TEST_P(BatchSourceTest, StreamsWhatDoesNotFit) {
  const auto budget = 4 * memory_bytes(set_.train_groups()[0]);
  GroupCache cache(set_.store(), set_.manifest(), budget);
  BatchSource source(cache, schedule_, {.prefetch = GetParam()});
  for (std::uint64_t round = 0; round < 2 * schedule_.rounds_per_epoch(); ++round) {
    EXPECT_EQ(labels_of(source.batch(round)), expected_labels(set_, schedule_, round, 0, 1));
  }
  EXPECT_LE(cache.statistics().peak_bytes, budget);
}

TEST_P(BatchSourceTest, ThrowsWhatWentWrongAndTriesAgainLater) {
  const auto& name = set_.manifest().train.blocks[0].name;
  const auto good = set_.store().get(name);
  set_.store().remove(name);
  BatchSource source(cache_, schedule_, {.prefetch = GetParam()});
  source.prepare_first(0);  // throws nothing
  std::uint64_t round = 0;
  for (int failures = 0; failures < 2;) {
    try {
      std::ignore = source.batch(round);
      ASSERT_LT(++round, schedule_.rounds_per_epoch());
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kNotFound);
      ++failures;
    }
  }
  set_.store().put(name, good);
  for (; round < schedule_.rounds_per_epoch(); ++round) {
    EXPECT_EQ(labels_of(source.batch(round)), expected_labels(set_, schedule_, round, 0, 1));
  }
}

/// Counts the groups that live because of mini-batches alone: the cache keeps none.
TEST(BatchSourcePrefetch, HoldsNoMoreThanItMay) {
  TestSet set(small_set());
  const Schedule schedule(set.manifest().train, 10, 1, 1);
  GroupCache cache(set.store(), set.manifest(), 0);
  BatchSource source(cache, schedule, {.prefetch = 1000, .prefetch_bytes = 1});
  std::ignore = source.batch(0);
  for (std::uint64_t round = 1; round < 100; ++round) {
    std::ignore = source.batch(round);
    EXPECT_LE(cache.statistics().decoded, round + 3) << "one is in use, one is ready, one is being made";
  }
}

TEST_P(BatchSourceTest, EndsAtAnyTime) {
  for (std::uint64_t rounds = 0; rounds < 20; ++rounds) {
    GroupCache cache(set_.store(), set_.manifest(), kPlenty);
    BatchSource source(cache, schedule_, {.prefetch = GetParam()});
    for (std::uint64_t round = 0; round < rounds; ++round) std::ignore = source.batch(round);
  }
}

INSTANTIATE_TEST_SUITE_P(Prefetch, BatchSourceTest, testing::Values(0, 1, 2, 8));

TEST(ForEachGroup, CallsOnceForEachInAnyOrder) {
  TestSet set(small_set());
  for (const std::uint64_t budget : {std::uint64_t{0}, kPlenty}) {
    for (const unsigned threads : {1U, 4U}) {
      GroupCache cache(set.store(), set.manifest(), budget);
      std::vector<std::atomic<int>> calls(3);
      for_each_group(cache, SplitName::kValidation, threads, [&](std::size_t index, const RowGroupPtr& group) {
        EXPECT_EQ(*group, set.validation_groups()[index]);
        ++calls[index];
      });
      for (const auto& count : calls) EXPECT_EQ(count, 1);
      EXPECT_EQ(cache.statistics().decoded, 3U);
    }
  }
}

TEST(ForEachGroup, DoesNothingForAnEmptySplitAndPassesErrorsOn) {
  TestSet set(small_set());
  GroupCache cache(set.store(), set.manifest(), kPlenty);
  for_each_group(cache, SplitName::kTest, 2, [](std::size_t, const RowGroupPtr&) { FAIL(); });
  EXPECT_THROW(for_each_group(cache, SplitName::kTrain, 2,
                              [](std::size_t, const RowGroupPtr&) { throw Error(ErrorKind::kDiverged, "x"); }),
               Error);
}

}  // namespace
}  // namespace virga
