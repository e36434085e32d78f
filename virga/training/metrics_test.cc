#include "virga/training/metrics.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/base/random.h"

namespace virga {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Rows {
  std::vector<float> scores;
  std::vector<float> labels;
  std::vector<float> weights;
};

/// Rows with `outputs` scores of a few distinct values; labels below `classes`, or real ones for 0.
Rows random_rows(std::uint64_t count, std::uint32_t outputs, std::uint32_t classes, std::uint64_t seed) {
  const Random random(seed, Purpose::kTest);
  Rows rows;
  for (std::uint64_t i = 0; i < count; ++i) {
    for (std::uint32_t c = 0; c < outputs; ++c)
      rows.scores.push_back(static_cast<float>(random.below(41, 0, i * outputs + c)) / 8 - 2.5F);
    rows.labels.push_back(classes > 0 ? static_cast<float>(random.below(classes, 1, i))
                                      : static_cast<float>(random.uniform(1, i) * 10 + 1000));
    rows.weights.push_back(static_cast<float>(random.below(4, 2, i)) * 0.7F);
  }
  return rows;
}

/// The evaluation of `rows` in groups of `group_rows`.
Evaluation evaluate(LossKind loss, std::uint32_t classes, const Rows& rows, std::size_t group_rows = 100) {
  Metrics metrics(loss, classes);
  const auto outputs = loss == LossKind::kSoftmax ? classes : 1;
  for (std::size_t begin = 0; begin < rows.labels.size(); begin += group_rows) {
    const auto count = std::min(group_rows, rows.labels.size() - begin);
    metrics.add(
        metrics_part(loss, classes, std::span(rows.scores).subspan(begin * outputs, count * outputs),
                     std::span(rows.labels).subspan(begin, count),
                     rows.weights.empty() ? std::span<const float>() : std::span(rows.weights).subspan(begin, count)));
  }
  return metrics.finish();
}

double sum(const std::vector<float>& values) {
  double total = 0;
  for (const auto value : values) total += static_cast<double>(value);
  return total;
}

TEST(RowLoss, FollowsItsDefinition) {
  for (const float z : {-30.0F, -1.5F, -0.25F, 0.0F, 0.5F, 3.0F, 40.0F}) {
    const std::vector<float> score = {z};
    const auto zd = static_cast<double>(z);
    EXPECT_NEAR(row_loss(LossKind::kLogistic, score, 1), std::log1p(std::exp(-zd)), 1e-14 * (1 + std::abs(zd)));
    EXPECT_NEAR(row_loss(LossKind::kLogistic, score, 0), std::log1p(std::exp(zd)), 1e-14 * (1 + std::abs(zd)));
    EXPECT_EQ(row_loss(LossKind::kHinge, score, 1), std::max(0.0, 1 - zd));
    EXPECT_EQ(row_loss(LossKind::kSquaredHinge, score, 0), std::max(0.0, 1 + zd) * std::max(0.0, 1 + zd));
    EXPECT_EQ(row_loss(LossKind::kSquaredError, score, 2), (zd - 2) * (zd - 2));
    const std::vector<float> two = {z, 1.0F};
    EXPECT_NEAR(row_loss(LossKind::kSoftmax, two, 0), std::log1p(std::exp(1 - zd)), 1e-14 * (1 + std::abs(zd)));
  }
}

TEST(RowLoss, IsNeverNotANumber) {
  EXPECT_EQ(row_loss(LossKind::kLogistic, std::vector{kInfinity}, 1), 0);
  EXPECT_EQ(row_loss(LossKind::kLogistic, std::vector{kInfinity}, 0), kInfinity);
  EXPECT_EQ(row_loss(LossKind::kLogistic, std::vector{-kInfinity}, 0), 0);
  EXPECT_EQ(row_loss(LossKind::kHinge, std::vector{-kInfinity}, 1), kInfinity);
  EXPECT_EQ(row_loss(LossKind::kHinge, std::vector{kInfinity}, 1), 0);
  EXPECT_EQ(row_loss(LossKind::kSoftmax, std::vector{kInfinity, 0.0F}, 0), 0);
  EXPECT_EQ(row_loss(LossKind::kSoftmax, std::vector{kInfinity, 0.0F}, 1), kInfinity);
  EXPECT_NEAR(row_loss(LossKind::kSoftmax, std::vector{kInfinity, kInfinity}, 1), std::log(2.0), 1e-15);
  EXPECT_EQ(row_loss(LossKind::kSoftmax, std::vector{-kInfinity, 0.0F}, 0), kInfinity);
  EXPECT_NEAR(row_loss(LossKind::kSoftmax, std::vector{-kInfinity, -kInfinity, -kInfinity}, 1), std::log(3.0), 1e-15);
  EXPECT_NEAR(row_loss(LossKind::kSoftmax, std::vector{3e38F, -3e38F}, 1), 6e38, 1e32);
}

TEST(PredictedClass, TakesTheFirstOfTheHighestScores) {
  EXPECT_EQ(predicted_class(std::vector{0.0F}), 0U);
  EXPECT_EQ(predicted_class(std::vector{1e-30F}), 1U);
  EXPECT_EQ(predicted_class(std::vector{-1.0F, 2.0F, 2.0F}), 1U);
  EXPECT_EQ(predicted_class(std::vector{-kInfinity, -kInfinity}), 0U);
}

TEST(Metrics, AverageTheLossByWeight) {
  for (const auto loss : {LossKind::kLogistic, LossKind::kHinge, LossKind::kSquaredHinge}) {
    const auto rows = random_rows(1000, 1, 2, 5);
    double total = 0;
    double positives = 0;
    for (std::size_t i = 0; i < rows.labels.size(); ++i) {
      total += static_cast<double>(rows.weights[i]) * row_loss(loss, {&rows.scores[i], 1}, rows.labels[i]);
      positives += static_cast<double>(rows.weights[i] * rows.labels[i]);
    }
    const auto evaluation = evaluate(loss, 2, rows);
    EXPECT_EQ(evaluation.rows, 1000U);
    EXPECT_NEAR(evaluation.weight, sum(rows.weights), 1e-9);
    EXPECT_NEAR(evaluation.loss, total / sum(rows.weights), 1e-12);
    const std::span one(rows.scores);
    EXPECT_EQ(metrics_part(loss, 2, one.first(1), std::span(rows.labels).first(1), {}).loss,
              row_loss(loss, one.first(1), rows.labels[0]));

    // The base loss is what no constant score can undercut.
    const double p = positives / sum(rows.weights);
    double best = std::numeric_limits<double>::infinity();
    for (int look = -3000; look <= 3000; ++look) {
      const auto score = 0.001F * static_cast<float>(look);
      best = std::min(best, p * row_loss(loss, {&score, 1}, 1) + (1 - p) * row_loss(loss, {&score, 1}, 0));
    }
    EXPECT_LE(evaluation.base_loss, best + 1e-12);
    EXPECT_NEAR(evaluation.base_loss, best, 2e-3);
  }
}

TEST(Metrics, CountClassesByTheirDefinitions) {
  const std::uint32_t classes = 5;
  const auto rows = random_rows(2000, classes, classes - 1, 6);  // the last class never occurs as a label
  const auto report = evaluate(LossKind::kSoftmax, classes, rows).classification.value();

  std::vector<double> matrix(std::size_t{classes} * classes);
  double correct = 0;
  for (std::size_t i = 0; i < rows.labels.size(); ++i) {
    const auto predicted = predicted_class(std::span(rows.scores).subspan(i * classes, classes));
    const auto truth = static_cast<std::uint32_t>(rows.labels[i]);
    matrix[truth * classes + predicted] += static_cast<double>(rows.weights[i]);
    if (truth == predicted) correct += static_cast<double>(rows.weights[i]);
  }
  EXPECT_NEAR(report.accuracy, correct / sum(rows.weights), 1e-12);
  double macro_f1 = 0;
  for (std::uint32_t c = 0; c < classes; ++c) {
    double support = 0;
    double predicted = 0;
    for (std::uint32_t other = 0; other < classes; ++other) {
      EXPECT_NEAR(report.matrix[c * classes + other], matrix[c * classes + other], 1e-9);
      support += matrix[c * classes + other];
      predicted += matrix[other * classes + c];
    }
    const double precision = predicted > 0 ? matrix[c * classes + c] / predicted : 0;
    const double recall = support > 0 ? matrix[c * classes + c] / support : 0;
    EXPECT_NEAR(report.classes[c].support, support, 1e-9);
    EXPECT_NEAR(report.classes[c].precision, precision, 1e-12);
    EXPECT_NEAR(report.classes[c].recall, recall, 1e-12);
    const double f1 = precision + recall > 0 ? 2 * precision * recall / (precision + recall) : 0;
    EXPECT_NEAR(report.classes[c].f1, f1, 1e-12);
    macro_f1 += f1 / classes;
  }
  EXPECT_NEAR(report.macro_f1, macro_f1, 1e-12);
  ASSERT_THAT(report.confusions, SizeIs(16)) << "20 cells off the diagonal, but for the class that has no rows";
  const auto& largest = report.confusions.front();
  EXPECT_EQ(largest.weight, report.matrix[largest.truth * classes + largest.predicted]);
  EXPECT_TRUE(std::ranges::is_sorted(report.confusions, std::ranges::greater(), &Confusion::weight));
}

TEST(Metrics, SayHowOftenWhatWasPredictedCameTrue) {
  const auto rows = random_rows(1000, 1, 2, 7);
  std::vector<CalibrationBin> expected(kCalibrationBins);
  for (std::size_t i = 0; i < rows.labels.size(); ++i) {
    const double p = 1 / (1 + std::exp(-static_cast<double>(rows.scores[i])));
    const auto w = static_cast<double>(rows.weights[i]);
    for (std::size_t bin = 0; bin < kCalibrationBins; ++bin) {
      if (p <= static_cast<double>(bin) / 10 || p > static_cast<double>(bin + 1) / 10) continue;
      expected[bin].weight += w;
      expected[bin].predicted += w * p;
      expected[bin].observed += w * static_cast<double>(rows.labels[i]);
    }
  }

  const auto calibration = evaluate(LossKind::kLogistic, 2, rows).calibration;

  ASSERT_EQ(calibration.size(), kCalibrationBins);
  for (std::size_t bin = 0; bin < kCalibrationBins; ++bin) {  // sums of 1,000 numbers, in another order
    EXPECT_NEAR(calibration[bin].weight, expected[bin].weight, 1e-9);
    EXPECT_NEAR(calibration[bin].predicted * calibration[bin].weight, expected[bin].predicted, 1e-9);
    EXPECT_NEAR(calibration[bin].observed * calibration[bin].weight, expected[bin].observed, 1e-9);
  }
  const auto sure = evaluate(LossKind::kLogistic, 2, {{kInfinity, -kInfinity}, {1, 1}, {}}).calibration;
  EXPECT_EQ(sure[9], (CalibrationBin{1, 1, 1}));
  EXPECT_EQ(sure[0], (CalibrationBin{1, 0, 1}));
  EXPECT_EQ(sure[5], CalibrationBin());
  EXPECT_TRUE(evaluate(LossKind::kHinge, 2, rows).calibration.empty()) << "its scores are no probabilities";
}

TEST(Metrics, LeaveClassesThatNeverOccurOutOfTheMacroAverage) {
  const Rows rows{.scores = {1, 0, 0, 0, 1, 0}, .labels = {0, 1}, .weights = {}};
  const auto report = evaluate(LossKind::kSoftmax, 3, rows).classification.value();
  EXPECT_EQ(report.macro_f1, 1);
  EXPECT_EQ(report.classes[2], ClassMetrics{});
}

TEST(Metrics, NameTheLargestConfusionsOfManyClasses) {
  const std::uint32_t classes = 300;
  Rows rows;
  for (const auto& [truth, predicted] : std::vector<std::pair<std::uint32_t, std::uint32_t>>{
           {7, 8}, {299, 0}, {299, 0}, {5, 5}, {5, 5}, {5, 5}, {0, 7}}) {
    rows.labels.push_back(static_cast<float>(truth));
    rows.scores.resize(rows.scores.size() + classes);
    rows.scores[rows.scores.size() - classes + predicted] = 1;
  }
  const auto report = evaluate(LossKind::kSoftmax, classes, rows).classification.value();
  EXPECT_THAT(report.matrix, IsEmpty());
  EXPECT_THAT(report.confusions, ElementsAre(Confusion{299, 0, 2}, Confusion{0, 7, 1}, Confusion{7, 8, 1}));
  EXPECT_THAT(report.classes, SizeIs(300));
}

TEST(Metrics, CountNoPairsOfThousandsOfClasses) {
  const std::uint32_t classes = 3000;
  Rows rows{.scores = std::vector<float>(classes), .labels = {2999}, .weights = {}};
  rows.scores[2999] = 1;
  const auto report = evaluate(LossKind::kSoftmax, classes, rows).classification.value();
  EXPECT_EQ(report.accuracy, 1);
  EXPECT_THAT(report.matrix, IsEmpty());
  EXPECT_THAT(report.confusions, IsEmpty());
}

TEST(Metrics, OfARegressionFollowTheirDefinitions) {
  const auto rows = [] {
    auto made = random_rows(1000, 1, 0, 7);
    for (auto& score : made.scores) score += 1005;
    return made;
  }();
  double mean = 0;
  for (std::size_t i = 0; i < 1000; ++i)
    mean += static_cast<double>(rows.weights[i]) * static_cast<double>(rows.labels[i]);
  mean /= sum(rows.weights);
  double squares = 0;
  double residuals = 0;
  double absolute = 0;
  for (std::size_t i = 0; i < 1000; ++i) {
    const auto w = static_cast<double>(rows.weights[i]);
    const auto y = static_cast<double>(rows.labels[i]);
    const double residual = static_cast<double>(rows.scores[i]) - y;
    squares += w * (y - mean) * (y - mean);
    residuals += w * residual * residual;
    absolute += w * std::abs(residual);
  }
  for (const std::size_t group_rows : {1U, 7U, 1000U}) {
    const auto evaluation = evaluate(LossKind::kSquaredError, 0, rows, group_rows);
    const auto report = evaluation.regression.value();
    EXPECT_NEAR(report.rmse, std::sqrt(residuals / sum(rows.weights)), 1e-10);
    EXPECT_NEAR(report.mae, absolute / sum(rows.weights), 1e-10);
    EXPECT_NEAR(report.base_rmse, std::sqrt(squares / sum(rows.weights)), 1e-10);
    EXPECT_NEAR(report.r2.value(), 1 - residuals / squares, 1e-10);
    EXPECT_NEAR(evaluation.base_loss, squares / sum(rows.weights), 1e-9);
    EXPECT_EQ(evaluation.classification, std::nullopt);
  }
}

TEST(Metrics, HaveNoR2WhenAllLabelsAreEqual) {
  const Rows rows{.scores = {1, 2}, .labels = {5, 5}, .weights = {}};
  const auto report = evaluate(LossKind::kSquaredError, 0, rows).regression.value();
  EXPECT_EQ(report.r2, std::nullopt);
  EXPECT_EQ(report.base_rmse, 0);
  EXPECT_EQ(report.mae, 3.5);
}

TEST(Metrics, IgnoreTheInfiniteLossOfARowOfWeightZero) {
  const Rows rows{.scores = {kInfinity, 1}, .labels = {0, 1}, .weights = {0, 1}};
  EXPECT_LT(evaluate(LossKind::kLogistic, 2, rows).loss, 1);
}

TEST(Metrics, ReportAnInfiniteLossAsInfinite) {
  const Rows rows{.scores = {kInfinity, 1}, .labels = {0, 1}, .weights = {}};
  EXPECT_EQ(evaluate(LossKind::kLogistic, 2, rows).loss, static_cast<double>(kInfinity));
}

TEST(Metrics, RefuseWhatCannotBeEvaluated) {
  const auto kind_of = [](LossKind loss, std::uint32_t classes, const Rows& rows) {
    try {
      static_cast<void>(evaluate(loss, classes, rows));
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::kInternal;
  };
  EXPECT_EQ(kind_of(LossKind::kLogistic, 2, {}), ErrorKind::kBadData);
  EXPECT_EQ(kind_of(LossKind::kLogistic, 2, {{1}, {1}, {0}}), ErrorKind::kBadData);
  EXPECT_EQ(kind_of(LossKind::kLogistic, 2, {{std::nanf("")}, {1}, {}}), ErrorKind::kDiverged);
  for (const float label : {-1.0F, 2.0F, 0.5F, std::nanf(""), kInfinity}) {
    EXPECT_EQ(kind_of(LossKind::kLogistic, 2, {{1}, {label}, {}}), ErrorKind::kBadData) << label;
  }
}

}  // namespace
}  // namespace virga
