#include "virga/training/ranking.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include <gmock/gmock.h>

#include "virga/base/random.h"

namespace virga {
namespace {

struct Row {
  float score;
  float weight;
  bool positive;
};

std::vector<RankedRow> ranked(const std::vector<Row>& rows) {
  std::vector<RankedRow> all;
  for (const auto& row : rows) all.push_back(ranked_row(row.score, row.weight, row.positive));
  return all;
}

Ranking rank(const std::vector<Row>& rows, std::size_t exact_rows = RankingCurve::kExactRows) {
  RankingCurve curve(exact_rows);
  curve.add(ranked(rows));
  return curve.finish();
}

/// Share of the weight of pairs (positive, negative) in which the positive scores higher; ties count half.
double slow_auc(const std::vector<Row>& rows) {
  double right = 0;
  double all = 0;
  for (const auto& a : rows) {
    for (const auto& b : rows) {
      if (!a.positive || b.positive) continue;
      const double pair = static_cast<double>(a.weight) * static_cast<double>(b.weight);
      all += pair;
      right += a.score > b.score ? pair : a.score == b.score ? pair / 2 : 0;
    }
  }
  return right / all;
}

/// Sum over the thresholds, from the highest, of (recall - recall before) x precision.
double slow_average_precision(const std::vector<Row>& rows) {
  std::set<float, std::greater<>> thresholds;
  double positives = 0;
  for (const auto& row : rows) {
    thresholds.insert(row.score);
    if (row.positive) positives += static_cast<double>(row.weight);
  }
  double sum = 0;
  double recall_before = 0;
  for (const auto threshold : thresholds) {
    double true_positives = 0;
    double taken = 0;
    for (const auto& row : rows) {
      if (row.score < threshold) continue;
      taken += static_cast<double>(row.weight);
      if (row.positive) true_positives += static_cast<double>(row.weight);
    }
    const double recall = true_positives / positives;
    if (taken > 0) sum += (recall - recall_before) * (true_positives / taken);
    recall_before = recall;
  }
  return sum;
}

/// `levels` distinct scores between -2 and 2: few make many ties, also between the classes.
std::vector<Row> random_rows(std::uint64_t count, std::uint32_t levels, std::uint64_t seed) {
  const Random random(seed, Purpose::kTest);
  std::vector<Row> rows;
  for (std::uint64_t i = 0; i < count; ++i) {
    const bool positive = random.uniform(0, i) < 0.3;
    const auto level = static_cast<double>(random.below(levels, 1, i)) / levels;
    rows.push_back({static_cast<float>(level * 3 - 2 + (positive ? 1 : 0)),
                    static_cast<float>(random.below(5, 2, i)) * 0.3F, positive});
  }
  return rows;
}

TEST(Ranking, AgreesWithComparingAllPairs) {
  for (const std::uint32_t levels : {6U, 12U, 1U << 20}) {
    const auto rows = random_rows(300, levels, levels);
    const auto ranking = rank(rows);
    EXPECT_NEAR(ranking.auc.value(), slow_auc(rows), 1e-12);
    EXPECT_NEAR(ranking.average_precision.value(), slow_average_precision(rows), 1e-12);
    EXPECT_EQ(ranking.auc_error, 0);
    EXPECT_EQ(ranking.average_precision_error, 0);
  }
}

TEST(Ranking, HasTheKnownValuesOfSmallCases) {
  const auto perfect = rank({{-1, 1, false}, {2, 1, true}});
  EXPECT_EQ(perfect.auc, 1);
  EXPECT_EQ(perfect.average_precision, 1);
  const auto worst = rank({{-1, 1, true}, {2, 1, false}});
  EXPECT_EQ(worst.auc, 0);
  EXPECT_EQ(worst.average_precision, 0.5);
  const auto tied = rank({{0, 1, true}, {-0.0F, 1, false}, {0, 2, false}});
  EXPECT_EQ(tied.auc, 0.5);
  EXPECT_EQ(tied.average_precision, 0.25);
}

TEST(Ranking, TakesInfiniteScoresAndIgnoresWeightZero) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const auto ranking = rank({{kInfinity, 1, true}, {-kInfinity, 1, false}, {0, 1, false}, {kInfinity, 0, false}});
  EXPECT_EQ(ranking.auc, 1);
  EXPECT_EQ(ranking.average_precision, 1);
}

TEST(Ranking, IsAbsentWithoutBothClasses) {
  EXPECT_EQ(rank({}), Ranking{});
  EXPECT_EQ(rank({{1, 1, false}}), Ranking{});
  const auto positives = rank({{1, 1, true}, {0, 1, true}});
  EXPECT_EQ(positives.auc, std::nullopt);
  EXPECT_EQ(positives.average_precision, 1);
  EXPECT_EQ(rank({{1, 0, true}, {0, 1, false}}).average_precision, std::nullopt);
}

TEST(Ranking, DoesNotDependOnTheOrderOfRows) {
  auto rows = random_rows(1000, 50, 3);
  const auto expected = rank(rows);
  std::ranges::reverse(rows);
  EXPECT_EQ(rank(rows), expected);
  RankingCurve pieces;
  for (const auto row : ranked(rows)) pieces.add({&row, 1});
  EXPECT_EQ(pieces.finish(), expected);
}

TEST(Ranking, IsWithinTheStatedErrorWhenBinned) {
  for (const std::uint32_t levels : {12U, 1U << 20}) {
    const auto rows = random_rows(5000, levels, 4);
    const auto exact = rank(rows);
    const auto binned = rank(rows, 999);
    EXPECT_GT(binned.auc_error, 0);
    EXPECT_LE(std::abs(*binned.auc - *exact.auc), binned.auc_error + 1e-12);
    EXPECT_LE(std::abs(*binned.average_precision - *exact.average_precision), binned.average_precision_error + 1e-12);
    EXPECT_LT(binned.auc_error, levels > 12 ? 5e-4 : 0.1) << "continuous scores hardly share bins";
  }
}

TEST(Ranking, KnowsNothingOfTheOrderInsideABin) {
  std::vector<Row> rows = {{1.00001F, 1, true}, {1.00002F, 1, false}, {-3, 1, false}, {3, 1, true}};
  const auto binned = rank(rows, 0);
  EXPECT_EQ(binned.auc, 0.875);
  EXPECT_EQ(binned.auc_error, 0.125);
  EXPECT_NEAR(binned.average_precision.value(), (1 + 2.0 / 3) / 2, 1e-15);
  EXPECT_NEAR(binned.average_precision_error, 1.0 / 6, 1e-15) << "1 if the positive comes first";
}

TEST(Ranking, HasANarrowErrorWithoutNegatives) {
  const auto binned = rank({{1, 1, true}}, 0);
  EXPECT_EQ(binned.average_precision, 1);
  EXPECT_EQ(binned.average_precision_error, 0);
}

}  // namespace
}  // namespace virga
