#include "virga/training/function_memory.h"

#include <charconv>
#include <string>
#include <tuple>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/data/loader.h"
#include "virga/data/set_testing.h"

namespace virga {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kMegabyte = 1'000'000;

/// Sparse rows of 40 entries, in groups of a thousand of 60 kB each.
Manifest set_of(std::uint32_t groups, std::uint32_t features = 1U << 20) {
  Manifest manifest;
  manifest.encoding.features = features;
  manifest.encoding.classes = {"0", "1"};
  for (auto* split : {&manifest.train, &manifest.validation}) {
    split->rows = std::uint64_t{groups} * manifest.rows_per_group;
    split->nonzeros = split->rows * 40;
    split->blocks.push_back({.name = "block", .rows = groups * manifest.rows_per_group, .group_bytes = {}});
    split->blocks[0].group_bytes.assign(groups, 60'000);
  }
  return manifest;
}

TrainingPlan plan_of(unsigned workers, std::uint64_t batch_size, std::uint32_t features = 1U << 20) {
  TrainingPlan plan;
  plan.model = {.kind = ModelKind::kLogistic, .features = features};
  plan.workers = workers;
  plan.batch_size = batch_size;
  return plan;
}

std::uint64_t needed(const TrainingPlan& plan, const Manifest& manifest) {
  return worker_memory(plan, Pattern::kScatterReduce, manifest, 100'000 * kMegabyte).needed_bytes;
}

TEST(FunctionMemory, IsDividedWithoutARestBeyondTheLimit) {
  const auto manifest = set_of(100);
  for (const auto limit : {100 * kMegabyte, 1769 * kMegabyte}) {
    const auto memory = worker_memory(plan_of(2, 1000), Pattern::kAllToAll, manifest, limit);
    EXPECT_LE(memory.needed_bytes + memory.cache_bytes + memory.prefetch_bytes, limit);
    EXPECT_GT(memory.cache_bytes, 0U);
    EXPECT_GT(memory.prefetch_bytes, 0U);
  }
  EXPECT_GT(worker_memory(plan_of(2, 1000), Pattern::kAllToAll, manifest, 1769 * kMegabyte).cache_bytes,
            1000 * kMegabyte);
}

TEST(FunctionMemory, DoesNotDependOnHowManyRowsThereAre) {
  const auto few = needed(plan_of(4, 1000), set_of(100));
  const auto many = needed(plan_of(4, 1000), set_of(10'000));
  EXPECT_LE(many, few + std::uint64_t{2} * 64 * 10'000) << "but for the list of groups";
}

TEST(FunctionMemory, GrowsWithModelStateBatchAndWorkers) {
  const auto manifest = set_of(1000);
  const auto plain = needed(plan_of(2, 1000), manifest);
  EXPECT_GE(needed(plan_of(2, 1000, 1U << 22), set_of(1000, 1U << 22)), plain + std::uint64_t{3} * (3U << 20) * 8)
      << "AdaGrad's";
  EXPECT_GT(needed(plan_of(2, 100'000), manifest), plain + std::uint64_t{50'000} * 40 * 4) << "a larger batch";
  EXPECT_LT(needed(plan_of(8, 100'000), manifest), needed(plan_of(2, 100'000), manifest)) << "divided by more";
  auto adam = plan_of(2, 1000);
  adam.rule.kind = RuleKind::kAdam;
  EXPECT_GE(needed(adam, manifest), plain + std::uint64_t{2} * (1U << 20) * 4) << "one more state";
}

TEST(FunctionMemory, HoldsTheMomentsOfAMixture) {
  constexpr std::uint32_t kFeatures = 500, kComponents = 10;
  auto manifest = set_of(100, kFeatures);
  manifest.encoding.dense = true;
  auto plan = plan_of(2, 1000, kFeatures);
  plan.algorithm.kind = AlgorithmKind::kExpectationMaximisation;
  plan.model = {.kind = ModelKind::kGaussianMixture, .features = kFeatures, .dense = true, .clusters = kComponents};
  const auto diagonal = needed(plan, manifest);
  plan.model.covariance = CovarianceKind::kFull;
  const std::uint64_t numbers = kComponents * kFeatures * kFeatures / 2;
  EXPECT_GE(needed(plan, manifest), diagonal + numbers * (8 * 8 + 4)) << "what is summed, in all its copies";
}

TEST(FunctionMemory, HoldsMessagesWhereThereIsNoStore) {
  const auto manifest = set_of(1000);
  const auto limit = 100'000 * kMegabyte;
  auto plan = plan_of(4, 1000);
  plan.algorithm.kind = AlgorithmKind::kModelAveraging;  // sends all parameters and states: 8 MB
  const auto model = std::uint64_t{2} << 22;
  const auto through_a_store = worker_memory(plan, Pattern::kAllToAll, manifest, limit).needed_bytes;
  const auto direct = worker_memory(plan, Pattern::kAllToAll, manifest, limit, /*keeps_messages=*/true).needed_bytes;
  EXPECT_GE(direct, through_a_store + std::uint64_t{2} * 3 * model) << "two rounds of the three others";
  plan.workers = 1;
  EXPECT_EQ(worker_memory(plan, Pattern::kAllToAll, manifest, limit, true).needed_bytes,
            worker_memory(plan, Pattern::kAllToAll, manifest, limit).needed_bytes);
}

TEST(FunctionMemory, RefusesTooLittleAndSaysWhatIsEnough) {
  const auto manifest = set_of(1000);
  const auto plan = plan_of(2, 4000);
  const auto refused = [&](const auto& divide) {
    try {
      (void)divide(10 * kMegabyte);
      ADD_FAILURE() << "enough";
      return;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kTooLarge);
      EXPECT_THAT(error.what(), HasSubstr("a function of 9.5 MiB is too small"));
      EXPECT_THAT(error.what(), HasSubstr("parameters"));
      const auto& remedy = error.remedy();
      const auto at = remedy.find_first_of("0123456789");
      ASSERT_NE(at, std::string::npos) << remedy;
      std::uint64_t megabytes = 0;
      std::from_chars(remedy.data() + at, remedy.data() + remedy.size(), megabytes);
      EXPECT_NO_THROW((void)divide(megabytes * kMegabyte)) << remedy;
      EXPECT_THROW((void)divide((megabytes - 1) * kMegabyte), Error) << remedy;
    }
  };
  refused([&](std::uint64_t limit) { return worker_memory(plan, Pattern::kLeader, manifest, limit); });
  refused([&](std::uint64_t limit) { return evaluation_memory(plan, manifest, SplitName::kValidation, limit); });
}

TEST(FunctionMemory, OfOnePassIsEnoughToDecodeEachGroupOnce) {
  for (const bool dense : {false, true}) {
    TestSet set({.train_rows = 2'000,
                 .shape = {.rows = 100, .features = 1'000, .row_length = 30, .dense = dense},
                 .block_bytes = dense ? 2'000'000U : 20'000U});
    for (const std::uint64_t batch_size : {7U, 130U, 777U}) {
      const auto bytes = one_pass_cache_bytes(plan_of(1, batch_size), set.manifest());
      GroupCache cache(set.store(), set.manifest(), bytes);
      const Schedule schedule(set.manifest().train, 100, 1, batch_size);
      BatchSource first(cache, schedule, {.prefetch = 0}), second(cache, schedule, {.prefetch = 0});
      for (std::uint64_t round = 0; round < schedule.rounds_per_epoch(); ++round) {
        std::ignore = (round % 2 == 0 ? first : second).batch(round);
      }
      EXPECT_EQ(cache.statistics().decoded, 20U) << dense << " " << batch_size;
      EXPECT_LE(bytes, 2 * (batch_size / 100 + 2) * (dense ? 500'000U : 60'000U));
    }
  }
}

TEST(FunctionMemory, OfOnePassNeedsNothingWhereNoGroupIsCut) {
  EXPECT_EQ(one_pass_cache_bytes(plan_of(1, 3000), set_of(100)), 0U);
  EXPECT_GT(one_pass_cache_bytes(plan_of(1, 3001), set_of(100)), 0U);
  EXPECT_GT(one_pass_cache_bytes(plan_of(2, 3000), set_of(100)), 0U);
}

TEST(FunctionMemory, OfAnEvaluationIsNoMoreThanItCanUse) {
  const auto memory = evaluation_memory(plan_of(1, 1000), set_of(1000), SplitName::kValidation, 1769 * kMegabyte);
  EXPECT_LE(memory.cache_bytes, 64U << 20);
}

}  // namespace
}  // namespace virga
