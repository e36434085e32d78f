#include "virga/training/round_size.h"

#include <cmath>
#include <set>

#include <gtest/gtest.h>

#include "virga/base/random.h"

namespace virga {
namespace {

/// Three quarters of all non-zeros on 13 of 100,000 keys, half of all on the first one.
Manifest skewed_set() {
  Manifest manifest;
  manifest.encoding.features = 100'000;
  manifest.key_quantiles = {0, 1, 1, 13, 100'000};
  manifest.train.rows = 10'000;
  manifest.train.nonzeros = 100'000;
  return manifest;
}

TEST(ExpectedKeys, AreThoseThatDrawingByTheHistogramFinds) {
  const auto manifest = skewed_set();
  const auto& cuts = manifest.key_quantiles;
  const Random random(3, Purpose::kTest);
  for (const std::uint32_t entries : {10U, 1000U, 200'000U}) {
    constexpr int kTimes = 40;
    double found = 0;
    std::uint64_t draw = 0;
    for (int time = 0; time < kTimes; ++time) {
      std::set<std::uint64_t> keys;
      for (std::uint32_t i = 0; i < entries; ++i) {
        const auto stretch = random.below(4, 0, draw++);
        const auto width = cuts[stretch + 1] - cuts[stretch];
        keys.insert(cuts[stretch] + (width == 0 ? 0 : random.below(width, 1, draw++)));
      }
      found += static_cast<double>(keys.size());
    }
    // The mean of 40 counts whose variance is below their mean (drawing without replacement spreads them less).
    const auto mean = found / kTimes;
    EXPECT_NEAR(expected_keys(manifest, entries), mean, 4 * std::sqrt(mean / kTimes) + 0.3) << entries;
  }
}

TEST(ExpectedKeys, AreOfAllKeysAlikeWithoutAHistogram) {
  Manifest manifest;
  manifest.encoding.features = 1000;
  EXPECT_NEAR(expected_keys(manifest, 1000), 1000 * (1 - std::exp(-1.0)), 1e-9);
  EXPECT_EQ(expected_keys(manifest, 0), 0);
  EXPECT_LE(expected_keys(manifest, 1e12), 1000);
}

TEST(ExpectedRoundSize, GrowsWithWhatIsSummedAndStopsAtTheModel) {
  const auto manifest = skewed_set();
  TrainingPlan plan;
  plan.model = {.kind = ModelKind::kLogistic, .features = manifest.encoding.features};
  plan.workers = 4;
  plan.batch_size = 400;
  const auto gradients = expected_round_size(plan, manifest, 25);
  EXPECT_EQ(gradients.members, 4U);
  // 1,000 entries each, a quarter of them on keys that are rare: 6 bytes each, and what stands before.
  EXPECT_NEAR(gradients.contribution_bytes, 6 * (250 + 13), 150);
  EXPECT_NEAR(gradients.sum_bytes, 6 * (1000 + 13), 150);

  plan.algorithm.kind = AlgorithmKind::kModelAveraging;
  plan.rule.kind = RuleKind::kAdam;
  plan.algorithm.every = 5;
  const auto period = expected_round_size(plan, manifest, 25);
  EXPECT_GT(period.contribution_bytes, 3 * 4 * gradients.contribution_bytes)
      << "parameters and two moments, five rounds";
  plan.algorithm.every = 0;
  EXPECT_GT(expected_round_size(plan, manifest, 25).contribution_bytes, 4 * period.contribution_bytes);

  plan.algorithm = {};
  plan.batch_size = std::uint64_t{1} << 40;
  auto small = manifest;
  small.encoding.features = plan.model.features = 20;
  small.key_quantiles = {0, 1, 1, 13, 20};
  EXPECT_LE(expected_round_size(plan, small, 1).sum_bytes, 20 * 6 + 4 + 100);
}

}  // namespace
}  // namespace virga
