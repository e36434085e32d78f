#include "virga/model/gaussian_mixture.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <numbers>
#include <vector>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/base/random.h"
#include "virga/model/expectation.h"

namespace virga {
namespace {

using testing::HasSubstr;

/// Rows as plain doubles (which are floats), with weights.
struct PlainRows {
  std::vector<std::vector<double>> rows;
  std::vector<double> weights;
};

/// Heaps about points of a lattice of `offset` and `offset` + 3, whose features depend on each other; some entries are
/// 0 if `zeros`.
PlainRows heaps(std::uint32_t rows, std::uint32_t features, double offset, bool zeros, bool weights) {
  const Random random(11, Purpose::kTest);
  PlainRows all;
  for (std::uint32_t i = 0; i < rows; ++i) {
    const auto heap = random.below(3, 0, i);
    auto& row = all.rows.emplace_back();
    double before = 0;
    for (std::uint32_t f = 0; f < features; ++f) {
      const double noise = random.uniform(1, i, f) + random.uniform(2, i, f) - 1;
      before = 0.6 * before + noise;
      const double value = offset + (random.below(2, 3, heap * 1000 + f) == 0 ? 0 : 3) + before;
      const bool there = !zeros || random.uniform(4, i, f) < 0.4;
      row.push_back(there ? double{static_cast<float>(value)} : 0);
    }
    all.weights.push_back(weights ? double{static_cast<float>(0.5 + random.uniform(5, i))} : 1);
  }
  return all;
}

std::shared_ptr<RowGroup> group_of(const PlainRows& plain, std::size_t first, std::size_t last, bool dense) {
  auto group = std::make_shared<RowGroup>();
  const auto features = static_cast<std::uint32_t>(plain.rows[0].size());
  group->rows = static_cast<std::uint32_t>(last - first);
  group->dense = dense;
  group->columns = dense ? features : 0;
  if (!dense) {
    for (std::uint32_t f = 0; f < features; ++f) group->keys.push_back(f);
    group->row_begin.push_back(0);
  }
  for (auto i = first; i < last; ++i) {
    for (std::uint32_t f = 0; f < features; ++f) {
      const auto value = static_cast<float>(plain.rows[i][f]);
      if (dense) {
        group->matrix.push_back(value);
      } else if (value != 0) {
        group->indices16.push_back(static_cast<std::uint16_t>(f));
        group->values.push_back(value);
      }
    }
    if (!dense) group->row_begin.push_back(static_cast<std::uint32_t>(group->values.size()));
    group->weights.push_back(static_cast<float>(plain.weights[i]));
  }
  return group;
}

MiniBatch batch_of(const std::vector<std::shared_ptr<RowGroup>>& groups, std::uint32_t features) {
  std::vector<RowRange> ranges;
  for (const auto& group : groups) ranges.push_back({group, 0, group->rows});
  BatchAssembler assembler(features);
  return assembler.assemble(ranges);
}

/// The obvious mixture: whole matrices, determinants by elimination, in doubles.
struct PlainMixture {
  std::vector<std::vector<double>> means;                    // [clusters][features]
  std::vector<std::vector<std::vector<double>>> covariance;  // [clusters][features][features]
  std::vector<double> mixing;

  /// log (pi N), by Gauss' elimination of [covariance | x - mean].
  [[nodiscard]] double log_density(const std::vector<double>& x, std::size_t c) const {
    const std::size_t n = x.size();
    auto a = covariance[c];
    std::vector<double> d(n), solved(n);
    for (std::size_t f = 0; f < n; ++f) solved[f] = d[f] = x[f] - means[c][f];
    double log_determinant = 0;
    for (std::size_t p = 0; p < n; ++p) {
      log_determinant += std::log(a[p][p]);
      for (std::size_t r = p + 1; r < n; ++r) {
        const double factor = a[r][p] / a[p][p];
        for (std::size_t q = p; q < n; ++q) a[r][q] -= factor * a[p][q];
        solved[r] -= factor * solved[p];
      }
    }
    double square = 0;
    for (std::size_t p = n; p-- > 0;) {
      for (std::size_t q = p + 1; q < n; ++q) solved[p] -= a[p][q] * solved[q];
      solved[p] /= a[p][p];
      square += d[p] * solved[p];
    }
    return std::log(mixing[c]) -
           0.5 * (static_cast<double>(n) * std::log(2 * std::numbers::pi) + log_determinant + square);
  }
  /// Responsibilities, and log p(x) behind them.
  [[nodiscard]] std::vector<double> respond(const std::vector<double>& x) const {
    std::vector<double> logs;
    for (std::size_t c = 0; c < mixing.size(); ++c) logs.push_back(log_density(x, c));
    const double largest = *std::ranges::max_element(logs);
    double sum = 0;
    for (const auto log : logs) sum += std::exp(log - largest);
    for (auto& log : logs) log = std::exp(log - largest) / sum;
    logs.push_back(largest + std::log(sum));
    return logs;
  }
  [[nodiscard]] double loss(const PlainRows& rows) const {
    double loss = 0;
    for (std::size_t i = 0; i < rows.rows.size(); ++i) loss -= rows.weights[i] * respond(rows.rows[i]).back();
    return loss;
  }
  /// A step of expectation maximisation.
  void step(const PlainRows& rows, bool full, double reg_covar) {
    const std::size_t n = means[0].size(), k = mixing.size();
    std::vector<std::vector<double>> shares;
    for (std::size_t i = 0; i < rows.rows.size(); ++i) shares.push_back(respond(rows.rows[i]));
    double total = 0;
    for (const auto weight : rows.weights) total += weight;
    for (std::size_t c = 0; c < k; ++c) {
      double mass = 0;
      std::vector<double> mean(n);
      for (std::size_t i = 0; i < shares.size(); ++i) {
        const double share = rows.weights[i] * shares[i][c];
        mass += share;
        for (std::size_t f = 0; f < n; ++f) mean[f] += share * rows.rows[i][f];
      }
      for (auto& x : mean) x /= mass;
      for (std::size_t f = 0; f < n; ++f) {
        for (std::size_t g = 0; g < n; ++g) {
          double sum = 0;
          for (std::size_t i = 0; i < shares.size(); ++i) {
            sum += rows.weights[i] * shares[i][c] * (rows.rows[i][f] - mean[f]) * (rows.rows[i][g] - mean[g]);
          }
          covariance[c][f][g] = f == g ? sum / mass + reg_covar : full ? sum / mass : 0;
        }
      }
      means[c] = mean;
      mixing[c] = mass / total;
    }
  }
};

/// What the parameters say.
PlainMixture plain_of(const ModelSpec& spec, const Tables& tables) {
  const std::size_t n = spec.features, k = spec.clusters;
  PlainMixture plain;
  for (std::size_t c = 0; c < k; ++c) {
    auto& mean = plain.means.emplace_back();
    auto& covariance = plain.covariance.emplace_back(n, std::vector<double>(n));
    for (std::size_t f = 0; f < n; ++f) mean.push_back(double{tables.values[0][f * k + c]});
    for (std::size_t i = 0; i < n; ++i) {
      if (spec.covariance == CovarianceKind::kDiagonal) {
        covariance[i][i] = double{tables.values[1][i * k + c]};
        continue;
      }
      const auto* const triangle = tables.values[1].data() + c * n * (n + 1) / 2;
      for (std::size_t j = 0; j <= i; ++j) {
        double sum = 0;
        for (std::size_t m = 0; m <= j; ++m) {
          sum += double{triangle[i * (i + 1) / 2 + m]} * double{triangle[j * (j + 1) / 2 + m]};
        }
        covariance[i][j] = covariance[j][i] = sum;
      }
    }
    plain.mixing.push_back(double{tables.values[2][c]});
  }
  return plain;
}

/// Means are rows; variances 2, mixing coefficients 1/3, 2/3, ... of what they should be.
Tables start_of(const ModelSpec& spec, const PlainRows& rows) {
  Tables tables(layout_of(spec));
  const std::size_t n = spec.features, k = spec.clusters;
  for (std::size_t c = 0; c < k; ++c) {
    for (std::size_t f = 0; f < n; ++f) {
      tables.values[0][f * k + c] = static_cast<float>(rows.rows[7 * c + 1][f]);
      if (spec.covariance == CovarianceKind::kFull) {
        tables.values[1][c * n * (n + 1) / 2 + (f + 1) * (f + 2) / 2 - 1] = 1.5F;
        if (f > 0) tables.values[1][c * n * (n + 1) / 2 + (f + 1) * (f + 2) / 2 - 2] = 0.25F;
      } else {
        tables.values[1][f * k + c] = 1.5F + static_cast<float>(c) / 4;
      }
    }
    tables.values[2][c] = static_cast<float>(c + 1) * 2 / static_cast<float>(k * (k + 1));
  }
  return tables;
}

struct MixtureCase {
  bool dense;
  CovarianceKind covariance;
  bool weights;
  double offset;
};

class Mixtures : public testing::TestWithParam<MixtureCase> {
 protected:
  static constexpr std::uint32_t kColumns = 19;  // more than the lanes of a kernel, and no multiple of them
  Mixtures() {
    const auto& [dense, covariance, weights, offset] = GetParam();
    spec = {.kind = ModelKind::kGaussianMixture,
            .features = kColumns,
            .dense = dense,
            .clusters = 4,
            .covariance = covariance,
            .reg_covar = 1e-3};
    rows = heaps(150, kColumns, offset, !dense, weights);
    groups = {group_of(rows, 0, 70, dense), group_of(rows, 70, 150, dense)};
    start = start_of(spec, rows);
  }
  [[nodiscard]] bool is_full() const { return spec.covariance == CovarianceKind::kFull; }

  ModelSpec spec;
  PlainRows rows;
  std::vector<std::shared_ptr<RowGroup>> groups;
  Tables start;
};

TEST_P(Mixtures, SumTheMomentsOfEachComponentsShareOfTheRows) {
  const auto plain = plain_of(spec, start);
  const auto batch = batch_of(groups, kColumns);
  Contribution out;
  GaussianMixture model(spec, kernels(best_simd_level()));
  model.gradient(batch, {.tables = start.values, .version = 3}, out);
  auto again = out;
  model.gradient(batch, {.tables = start.values, .version = 3}, again);
  EXPECT_EQ(again.tables, out.tables) << "what was made for a version is used again";

  const std::size_t k = spec.clusters, n = kColumns;
  std::vector<double> mass(k), first(n * k), second(k * n * n);
  for (std::size_t i = 0; i < rows.rows.size(); ++i) {
    const auto shares = plain.respond(rows.rows[i]);
    for (std::size_t c = 0; c < k; ++c) {
      const double share = rows.weights[i] * shares[c];
      const auto d = [&](std::size_t f) { return rows.rows[i][f] - (spec.dense ? plain.means[c][f] : 0); };
      mass[c] += share;
      for (std::size_t f = 0; f < n; ++f) {
        first[f * k + c] += share * d(f);
        for (std::size_t g = 0; g < n; ++g) second[(c * n + f) * n + g] += share * d(f) * d(g);
      }
    }
  }
  // Doubles; what elimination loses of a determinant of 19 features.
  const double tolerance = 1e-9 * (1 + GetParam().offset * GetParam().offset * (spec.dense ? 0 : 1));
  ASSERT_EQ(out.tables.size(), is_full() ? 3U : 2U);
  EXPECT_EQ(out.tables[0].keys, batch.keys);
  const std::size_t width = is_full() ? k : 2 * k;
  ASSERT_EQ(out.tables[0].doubles.size(), n * width);
  for (std::size_t f = 0; f < n; ++f) {
    for (std::size_t c = 0; c < k; ++c) {
      EXPECT_NEAR(out.tables[0].doubles[f * width + c], first[f * k + c], tolerance);
      if (!is_full()) {
        EXPECT_NEAR(out.tables[0].doubles[f * width + k + c], second[(c * n + f) * n + f], tolerance * 10);
      }
    }
  }
  if (is_full()) {
    std::size_t at = 0;
    for (std::size_t c = 0; c < k; ++c) {
      for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t j = 0; j <= i; ++j, ++at) {
          EXPECT_NEAR(out.tables[1].doubles[at], second[(c * n + i) * n + j], tolerance * 10);
        }
      }
    }
    EXPECT_EQ(at, out.tables[1].doubles.size());
  }
  double weight = 0;
  for (std::size_t c = 0; c < k; ++c) {
    EXPECT_NEAR(out.tables.back().doubles[c], mass[c], tolerance);
    weight += mass[c];
  }
  EXPECT_NEAR(out.weight, weight, 1e-9);
  EXPECT_NEAR(out.loss, plain.loss(rows), 1e-9 * std::abs(out.loss) + tolerance);
  EXPECT_EQ(out.examples, 150U);
}

TEST_P(Mixtures, GiveTheSameBitsOnEveryLevel) {
  const auto batch = batch_of(groups, kColumns);
  Contribution expected;
  GaussianMixture(spec, kernels(SimdLevel::kScalar)).gradient(batch, {.tables = start.values}, expected);
  for (const auto level : {SimdLevel::kAvx2, SimdLevel::kAvx512}) {
    if (!has_simd_level(level)) continue;
    Contribution out;
    GaussianMixture(spec, kernels(level)).gradient(batch, {.tables = start.values}, out);
    EXPECT_EQ(out.tables, expected.tables);
    EXPECT_EQ(out.loss, expected.loss);
  }
}

TEST_P(Mixtures, ScoresAreLogarithmsOfProbabilitiesAndOfTheDensity) {
  const auto plain = plain_of(spec, start);
  GaussianMixture model(spec, kernels(best_simd_level()));
  for (const bool prepared : {false, true}) {
    if (prepared) model.prepare(start);
    std::size_t row = 0;
    for (const auto& group : groups) {
      std::vector<float> scores(std::size_t{group->rows} * (spec.clusters + 1));
      model.scores(*group, start, scores);
      double loss = 0;
      for (std::size_t i = 0; i < group->rows; ++i, ++row) {
        const auto expected = plain.respond(rows.rows[row]);
        const auto* const actual = scores.data() + i * (spec.clusters + 1);
        double sum = 0;
        for (std::size_t c = 0; c < spec.clusters; ++c) {
          EXPECT_NEAR(std::exp(double{actual[c]}), expected[c], 1e-6);
          sum += std::exp(double{actual[c]});
        }
        EXPECT_NEAR(sum, 1, 1e-6);
        EXPECT_NEAR(double{actual[spec.clusters]}, expected.back(), 1e-6 * (1 + std::abs(expected.back())));
        loss -= rows.weights[row] * expected.back();
      }
      const auto sums = model.losses(*group, start);
      EXPECT_NEAR(sums.loss, loss, 1e-8 * std::abs(loss));
      EXPECT_EQ(sums.examples, group->rows);
    }
    row = 0;
  }
}

TEST_P(Mixtures, GoWhereTheObviousStepsGoAndNeverUp) {
  auto plain = plain_of(spec, start);
  auto tables = start;
  GaussianMixture model(spec, kernels(best_simd_level()));
  const auto batch = batch_of(groups, kColumns);
  double before = 0;
  for (std::uint32_t epoch = 0; epoch < 5; ++epoch) {
    Contribution out;
    model.gradient(batch, {.tables = tables.values}, out);
    if (epoch > 0) {
      EXPECT_LE(out.loss, before + 1e-5 * std::abs(before)) << "floats may round it up by so much";
    }
    before = out.loss;
    std::vector<std::vector<double>> statistics;
    for (const auto& table : out.tables) statistics.push_back(table.doubles);
    EXPECT_FALSE(maximise(spec, statistics, 1, epoch, tables));
    plain.step(rows, is_full(), spec.reg_covar);
  }
  // Parameters are floats: means to 6e-8 of themselves, and a variance is about the mean as it was rounded.
  const auto actual = plain_of(spec, tables);
  const double rounding = 1e-6 * (1 + GetParam().offset);
  for (std::size_t c = 0; c < spec.clusters; ++c) {
    EXPECT_NEAR(actual.mixing[c], plain.mixing[c], 1e-5 + rounding);
    for (std::size_t f = 0; f < kColumns; ++f) {
      EXPECT_NEAR(actual.means[c][f], plain.means[c][f], 1e-5 + rounding);
      for (std::size_t g = 0; g < kColumns; ++g) {
        EXPECT_NEAR(actual.covariance[c][f][g], plain.covariance[c][f][g], 1e-5 + 2 * rounding);
      }
    }
  }
  EXPECT_NEAR(actual.loss(rows), plain.loss(rows), (1e-5 + rounding) * std::abs(plain.loss(rows)));
}

constexpr auto kDiagonal = CovarianceKind::kDiagonal;
constexpr auto kFull = CovarianceKind::kFull;
INSTANTIATE_TEST_SUITE_P(Rows, Mixtures,
                         testing::Values(MixtureCase{true, kDiagonal, false, 0}, MixtureCase{true, kDiagonal, true, 0},
                                         MixtureCase{true, kFull, false, 0}, MixtureCase{true, kFull, true, 0},
                                         MixtureCase{false, kDiagonal, false, 0},
                                         MixtureCase{false, kDiagonal, true, 0},
                                         MixtureCase{true, kDiagonal, false, 1000},
                                         MixtureCase{true, kFull, true, 1000},
                                         MixtureCase{false, kDiagonal, true, 10}));

// --- Nasty rows

/// Trains on the rows, and gives the mean losses before each step.
std::vector<double> train_plainly(const ModelSpec& spec, const PlainRows& rows, Tables& tables, std::uint32_t epochs) {
  GaussianMixture model(spec, kernels(best_simd_level()));
  const auto batch = batch_of({group_of(rows, 0, rows.rows.size(), spec.dense)}, spec.features);
  std::vector<double> losses;
  for (std::uint32_t epoch = 0; epoch < epochs; ++epoch) {
    Contribution out;
    model.gradient(batch, {.tables = tables.values}, out);
    losses.push_back(out.loss / out.weight);
    std::vector<std::vector<double>> statistics;
    for (const auto& table : out.tables) statistics.push_back(table.doubles);
    (void)maximise(spec, statistics, 1, epoch, tables);
  }
  return losses;
}

ModelSpec mixture_of(std::uint32_t clusters, std::uint32_t features, CovarianceKind covariance, double reg_covar) {
  return {.kind = ModelKind::kGaussianMixture,
          .features = features,
          .dense = true,
          .clusters = clusters,
          .covariance = covariance,
          .reg_covar = reg_covar};
}

TEST(GaussianMixture, KeepsVariancesOfRowsThatAreFarFromZero) {
  // A millionth of the offset; floats there are 1/16 apart, and so are means.
  for (const auto covariance : {kDiagonal, kFull}) {
    const auto spec = mixture_of(2, 3, covariance, 1e-6);
    const auto rows = heaps(400, 3, 1e6, false, false);
    auto tables = start_of(spec, rows);
    double before = INFINITY;
    for (int epoch = 0; epoch < 10; ++epoch) {
      auto plain = plain_of(spec, tables);
      plain.step(rows, covariance == kFull, 1e-6);
      const auto loss = train_plainly(spec, rows, tables, 1)[0];
      EXPECT_LE(loss, before + 1e-5);
      before = loss;
      // A mean that is off by half of 1/16 costs 0.03^2 / (2 variance) for each of three features, of a variance of
      // 1/6.
      EXPECT_NEAR(plain_of(spec, tables).loss(rows) / 400, plain.loss(rows) / 400, 0.01);
    }
  }
}

TEST(GaussianMixture, KeepsTinyVariances) {
  auto rows = heaps(400, 3, 0, false, false);
  for (auto& row : rows.rows) {
    for (auto& x : row) x = double{static_cast<float>(x * 1e-9)};
  }
  const auto spec = mixture_of(2, 3, kFull, 0);
  auto tables = start_of(spec, rows);
  for (auto& x : tables.values[1]) x *= 1e-9F;
  auto plain = plain_of(spec, tables);
  (void)train_plainly(spec, rows, tables, 5);
  for (int epoch = 0; epoch < 5; ++epoch) plain.step(rows, true, 0);
  EXPECT_NEAR(plain_of(spec, tables).loss(rows) / 400, plain.loss(rows) / 400, 1e-4);
}

TEST(GaussianMixture, LivesWithDuplicatesAndWithAComponentForEachRow) {
  PlainRows rows;
  for (int i = 0; i < 12; ++i) rows.rows.push_back({double(i % 3), double(i % 3 == 1)});
  rows.weights.assign(rows.rows.size(), 1);
  for (const auto covariance : {kDiagonal, kFull}) {
    for (const std::uint32_t clusters : {3U, 6U, 12U}) {
      const auto spec = mixture_of(clusters, 2, covariance, 1e-6);
      Tables tables(layout_of(spec));
      for (std::size_t c = 0; c < clusters; ++c) {
        for (std::size_t f = 0; f < 2; ++f) {
          tables.values[0][f * clusters + c] = static_cast<float>(rows.rows[c][f]);
          if (covariance == kDiagonal) tables.values[1][f * clusters + c] = 0.01F;
        }
        if (covariance == kFull) tables.values[1][c * 3] = tables.values[1][c * 3 + 2] = 0.1F;
        tables.values[2][c] = 1 / static_cast<float>(clusters);
      }
      const auto losses = train_plainly(spec, rows, tables, 8);
      for (const auto loss : losses) EXPECT_TRUE(std::isfinite(loss));
      // Three points, each with a third of the rows and a variance of 1e-6 in both features.
      EXPECT_NEAR(losses.back(), std::log(3) + std::log(2 * std::numbers::pi * 1e-6), 1e-4);
    }
  }
}

TEST(GaussianMixture, RefusesAComponentWithoutSpreadIfNothingIsAddedToIt) {
  PlainRows rows;
  for (int i = 0; i < 20; ++i) rows.rows.push_back({double(i), 5});
  rows.weights.assign(rows.rows.size(), 1);
  for (const auto covariance : {kDiagonal, kFull}) {
    const auto spec = mixture_of(1, 2, covariance, 0);
    auto tables = start_of(spec, rows);
    try {
      (void)train_plainly(spec, rows, tables, 1);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kDiverged);
      EXPECT_THAT(error.what(), HasSubstr("component 0 of the mixture has no spread left in feature 1"));
      EXPECT_THAT(error.remedy(), HasSubstr("--reg-covar"));
    }
  }
}

TEST(GaussianMixture, RefusesSumsThatAreNotFinite) {
  const auto spec = mixture_of(1, 1, kDiagonal, 0);
  Tables tables(layout_of(spec));
  EXPECT_THROW((void)maximise(spec, std::vector<std::vector<double>>{{NAN, 1}, {1}}, 1, 0, tables), Error);
  EXPECT_THROW((void)maximise(spec, std::vector<std::vector<double>>{{0, 1e300}, {1}}, 1, 0, tables), Error);
}

TEST(GaussianMixture, GivesRowsFarFromAllComponentsAFiniteLoss) {
  const auto spec = mixture_of(2, 1, kDiagonal, 0);
  Tables tables(layout_of(spec));
  tables.values = {{0, 1}, {1, 1}, {0.5F, 0.5F}};
  RowGroup group{.rows = 2, .dense = true, .columns = 1, .matrix = {1e6F, -1e6F}};
  GaussianMixture model(spec, kernels(best_simd_level()));
  std::vector<float> scores(6);
  model.scores(group, tables, scores);
  EXPECT_EQ(scores[1], 0) << "the nearer one, for certain";
  EXPECT_EQ(scores[3], 0);
  EXPECT_NEAR(double{scores[0]}, -1e6, 1) << "by how much less, is still known";
  EXPECT_NEAR(model.losses(group, tables).loss, 1e12, 1e7);
}

TEST(GaussianMixture, LeavesOutRowsOfWeightZero) {
  const auto spec = mixture_of(2, 1, kDiagonal, 0);
  Tables tables(layout_of(spec));
  tables.values = {{0, 1}, {1, 1}, {0.5F, 0.5F}};
  const auto sums = [&](const RowGroup& group) {
    Contribution out;
    GaussianMixture model(spec, kernels(best_simd_level()));
    model.gradient(batch_of({std::make_shared<RowGroup>(group)}, 1), {.tables = tables.values}, out);
    return out;
  };
  const auto with = sums({.rows = 2, .dense = true, .columns = 1, .matrix = {0.5F, 3e38F}, .weights = {1, 0}});
  const auto without = sums({.rows = 1, .dense = true, .columns = 1, .matrix = {0.5F}, .weights = {1}});
  EXPECT_EQ(with.tables, without.tables);
  EXPECT_EQ(with.loss, without.loss);
  EXPECT_EQ(with.weight, 1);
}

// --- The step of maximisation

TEST(MoveComponents, GivesALostComponentHalfOfTheHeaviest) {
  for (const auto covariance : {kDiagonal, kFull}) {
    const auto spec = mixture_of(3, 2, covariance, 0);
    Tables tables(layout_of(spec));
    // Of 2, 0 and 6 rows; the last has the mean (4, 8), variances 9 and 16, and no covariance.
    std::vector<std::vector<double>> statistics;
    if (covariance == kDiagonal) {
      statistics = {{2, 0, 24, 4, 0, 150, 4, 0, 48, 10, 0, 480}, {2, 0, 6}};
    } else {
      statistics = {{2, 0, 24, 4, 0, 48}, {4, 4, 10, 0, 0, 0, 150, 192, 480}, {2, 0, 6}};
    }
    EXPECT_TRUE(maximise(spec, statistics, 1, 0, tables));
    const auto at = [&](std::size_t f, std::size_t c) { return double{tables.values[0][f * 3 + c]}; };
    EXPECT_EQ(at(0, 0), 1);
    EXPECT_EQ(at(1, 0), 2);
    EXPECT_NEAR(std::abs(at(0, 2) - 4), 3 / std::sqrt(2), 1e-6);
    EXPECT_NEAR(std::abs(at(1, 2) - 8), 4 / std::sqrt(2), 1e-6);
    EXPECT_NEAR(at(0, 1) + at(0, 2), 8, 1e-6);
    EXPECT_NEAR(at(1, 1) + at(1, 2), 16, 1e-6);
    const auto plain = plain_of(spec, tables);
    EXPECT_EQ(plain.covariance[1], plain.covariance[2]);
    EXPECT_NEAR(plain.covariance[1][1][1], 16, 1e-5);
    EXPECT_EQ(plain.covariance[1][0][1], 0);
    EXPECT_EQ(tables.values[2], (std::vector<float>{0.25F, 0.375F, 0.375F}));
    auto again = Tables(layout_of(spec));
    (void)maximise(spec, statistics, 1, 0, again);
    EXPECT_EQ(again, tables);
  }
}

TEST(MoveComponents, SplitsWithoutGivingFeaturesToSparseComponentsThatLackThem) {
  auto spec = mixture_of(2, 2, kDiagonal, 1e-6);
  spec.dense = false;
  Tables tables(layout_of(spec));
  EXPECT_TRUE(maximise(spec, std::vector<std::vector<double>>{{6, 0, 20, 0, 0, 0, 0, 0}, {2, 0}}, 1, 0, tables));
  EXPECT_EQ(tables.values[0][2], 0);
  EXPECT_EQ(tables.values[0][3], 0);
  EXPECT_NE(tables.values[0][0], tables.values[0][1]);
}

TEST(Cholesky, FindsTheTriangleAndTheRowWithoutAPivot) {
  std::vector<double> a = {4, 12, 37, -16, -43, 98};
  EXPECT_EQ(cholesky(3, a), 3U);
  EXPECT_EQ(a, (std::vector<double>{2, 6, 1, -8, 5, 3}));
  std::vector<double> singular = {1, 2, 4, 0, 0, 1};
  EXPECT_EQ(cholesky(3, singular), 1U);
  std::vector<double> unknown = {1, 0, NAN};
  EXPECT_EQ(cholesky(2, unknown), 1U);
}

TEST(GaussianLoss, IsTheEntropyOfTheGaussianOfTheSameVariances) {
  const double entropy = 0.5 * std::log(2 * std::numbers::pi * std::numbers::e * 4) +
                         0.5 * std::log(2 * std::numbers::pi * std::numbers::e * 0.25);
  EXPECT_NEAR(gaussian_loss(std::vector<double>{4, 0.25}, 0), entropy, 1e-14);
  EXPECT_TRUE(std::isfinite(gaussian_loss(std::vector<double>{0}, 0)));
}

}  // namespace
}  // namespace virga
