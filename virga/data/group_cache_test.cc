#include "virga/data/group_cache.h"

#include <tuple>

#include <gmock/gmock.h>

#include "virga/base/threads.h"
#include "virga/data/set_testing.h"

namespace virga {
namespace {

constexpr std::uint64_t kPlenty = std::uint64_t{1} << 30;

/// 30 groups of 10 rows (the last of 7) in about 6 blocks.
TestSet::Options small_set() {
  return {.train_rows = 297,
          .validation_rows = 25,
          .shape = {.rows = 10, .features = 500, .row_length = 8},
          .block_bytes = 1024};
}

std::vector<GroupId> all_groups(const Manifest& manifest) {
  std::vector<GroupId> ids;
  for (std::uint32_t block = 0; block < manifest.train.blocks.size(); ++block) {
    for (std::uint32_t group = 0; group < manifest.train.blocks[block].group_bytes.size(); ++group) {
      ids.push_back({SplitName::kTrain, block, group});
    }
  }
  return ids;
}

TEST(GroupCache, GivesTheGroupsThatWereStored) {
  TestSet set(small_set());
  ASSERT_GT(set.manifest().train.blocks.size(), 3U);
  GroupCache cache(set.store(), set.manifest(), kPlenty);
  const auto ids = all_groups(set.manifest());
  ASSERT_EQ(ids.size(), 30U);
  for (std::size_t i = ids.size(); i-- > 0;) EXPECT_EQ(*cache.get(ids[i]), set.train_groups()[i]);
  EXPECT_EQ(*cache.get({SplitName::kValidation, 0, 2}), set.validation_groups()[2]);
}

TEST(GroupCache, DecodesEachGroupOnceIfAllFit) {
  TestSet set(small_set());
  GroupCache cache(set.store(), set.manifest(), kPlenty);
  for (int epoch = 0; epoch < 3; ++epoch) {
    for (const auto id : all_groups(set.manifest())) std::ignore = cache.get(id);
  }
  const auto statistics = cache.statistics();
  EXPECT_EQ(statistics.decoded, 30U);
  EXPECT_EQ(statistics.reads, set.manifest().train.blocks.size()) << "a small block is one read";
  EXPECT_EQ(statistics.kept_bytes, statistics.peak_bytes);
}

TEST(GroupCache, ReadsWhatIsMissingBesideAGroupWithIt) {
  TestSet set(small_set());
  const auto bytes = set.manifest().train.blocks[0].bytes;
  GroupCache cache(set.store(), set.manifest(), kPlenty);
  std::ignore = cache.get({SplitName::kTrain, 0, 1});
  EXPECT_EQ(cache.statistics().reads, 1U);
  EXPECT_EQ(cache.statistics().read_bytes, bytes);
  EXPECT_EQ(cache.statistics().decoded, set.manifest().train.blocks[0].group_bytes.size());
}

TEST(GroupCache, StaysWithinItsBudgetAndStillGivesTheRightGroups) {
  TestSet set(small_set());
  const auto group_bytes = memory_bytes(set.train_groups()[0]);
  for (const std::uint64_t budget : {std::uint64_t{0}, std::uint64_t{1}, 3 * group_bytes, 12 * group_bytes}) {
    GroupCache cache(set.store(), set.manifest(), budget);
    const auto ids = all_groups(set.manifest());
    TestRandom random(1);
    for (int i = 0; i < 300; ++i) {
      const auto which = random.below(30);
      EXPECT_EQ(*cache.get(ids[which]), set.train_groups()[which]);
    }
    EXPECT_LE(cache.statistics().peak_bytes, budget);
    EXPECT_EQ(cache.statistics().peak_bytes > 0, budget > group_bytes);
  }
}

TEST(GroupCache, DropsTheLeastRecentlyUsed) {
  TestSet set(small_set());
  GroupCache plenty(set.store(), set.manifest(), kPlenty);
  std::uint64_t budget = 100;
  for (const std::uint32_t block : {0U, 1U, 2U}) budget += memory_bytes(*plenty.get({SplitName::kTrain, block, 0}));
  GroupCache cache(set.store(), set.manifest(), budget);
  const auto get = [&](std::uint32_t block) {
    const auto before = cache.statistics().decoded;
    std::ignore = cache.get({SplitName::kTrain, block, 0});
    return cache.statistics().decoded > before;
  };
  for (const std::uint32_t block : {0U, 1U, 2U}) EXPECT_TRUE(get(block));
  EXPECT_FALSE(get(0));
  EXPECT_TRUE(get(3));
  EXPECT_FALSE(get(0)) << "it was used after the others";
  EXPECT_TRUE(get(1));
}

TEST(GroupCache, LetsOneOfManyThreadsLoadAGroup) {
  TestSet set(small_set());
  GroupCache cache(set.store(), set.manifest(), kPlenty);
  const auto ids = all_groups(set.manifest());
  run_threads(4, [&](unsigned) {
    for (std::size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(*cache.get(ids[i]), set.train_groups()[i]);
  });
  EXPECT_EQ(cache.statistics().decoded, 30U);
}

TEST(GroupCache, ServesManyThreadsOnASmallBudget) {
  TestSet set(small_set());
  const auto budget = 4 * memory_bytes(set.train_groups()[0]);
  GroupCache cache(set.store(), set.manifest(), budget);
  const auto ids = all_groups(set.manifest());
  run_threads(4, [&](unsigned thread) {
    TestRandom random(thread);
    for (int i = 0; i < 200; ++i) {
      const auto which = random.below(30);
      EXPECT_EQ(*cache.get(ids[which]), set.train_groups()[which]);
    }
  });
  EXPECT_LE(cache.statistics().peak_bytes, budget);
}

TEST(GroupCache, NamesADamagedGroupAndTriesAgainLater) {
  TestSet set(small_set());
  const auto& block = set.manifest().train.blocks[1];
  const auto good = set.store().get(block.name);
  auto bad = good;
  bad[block.group_bytes[0] + 50] ^= std::byte{1};
  set.store().put(block.name, bad);
  GroupCache cache(set.store(), set.manifest(), kPlenty);
  run_threads(3, [&](unsigned) {
    try {
      std::ignore = cache.get({SplitName::kTrain, 1, 1});
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kCorrupt);
      EXPECT_THAT(error.what(), testing::HasSubstr(block.name + ", group 1"));
    }
  });
  EXPECT_EQ(*cache.get({SplitName::kTrain, 0, 0}), set.train_groups()[0]);

  set.store().put(block.name, good);
  EXPECT_EQ(cache.get({SplitName::kTrain, 1, 1})->rows, 10U);
}

TEST(GroupCache, SaysThatABlockIsMissingOrCut) {
  TestSet set(small_set());
  const auto& blocks = set.manifest().train.blocks;
  set.store().remove(blocks[0].name);
  set.store().put(blocks[1].name, ByteView(set.store().get(blocks[1].name)).first(100));
  GroupCache cache(set.store(), set.manifest(), kPlenty);
  EXPECT_THROW(std::ignore = cache.get({SplitName::kTrain, 0, 0}), Error);
  EXPECT_THROW(std::ignore = cache.get({SplitName::kTrain, 1, 0}), Error);
}

TEST(GroupCache, ScalesWhatItLoads) {
  TestSet set(small_set());
  set.manifest().encoding.scale_factor = {0.5F};
  GroupCache cache(set.store(), set.manifest(), kPlenty);
  EXPECT_THAT(cache.get({SplitName::kTrain, 0, 0})->values, testing::AllOf(testing::SizeIs(80), testing::Each(0.5F)));
}

TEST(CheckGroup, RefusesAGroupOfAnotherSet) {
  const auto group = test_group({.rows = 10, .features = 50, .row_length = 8}, 1);
  const Encoding good{.features = 50, .classes = {"-1", "+1"}};
  EXPECT_NO_THROW(check_group(good, group, 10, "x"));
  EXPECT_THROW(check_group(good, group, 11, "x"), Error);
  auto encoding = good;
  encoding.features = group.keys.back();
  EXPECT_THROW(check_group(encoding, group, 10, "x"), Error);
  encoding = good;
  encoding.dense = true;
  EXPECT_THROW(check_group(encoding, group, 10, "x"), Error);
  for (const float label : {2.0F, -1.0F, 0.5F, 1e30F}) {
    auto other = group;
    other.labels[3] = label;
    EXPECT_THROW(check_group(good, other, 10, "x"), Error) << label;
    encoding = {.task = Task::kRegression, .features = 50};
    EXPECT_NO_THROW(check_group(encoding, other, 10, "x"));
  }
}

}  // namespace
}  // namespace virga
