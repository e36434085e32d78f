#include "virga/math/kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "virga/base/random.h"

namespace virga {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr PointLoss kPointLosses[] = {PointLoss::kLogistic, PointLoss::kHinge, PointLoss::kSquaredHinge,
                                      PointLoss::kSquaredError};

/// The levels of this machine; says which are missing.
std::vector<SimdLevel> levels() {
  std::vector<SimdLevel> all;
  for (const auto level : {SimdLevel::kScalar, SimdLevel::kAvx2, SimdLevel::kAvx512}) {
    if (has_simd_level(level)) {
      all.push_back(level);
    } else {
      std::printf("not run: %s, which this processor lacks\n", to_string(level).data());
    }
  }
  return all;
}

std::vector<float> random_floats(std::size_t count, std::uint32_t stream, double scale = 1.0) {
  const Random random(11, Purpose::kTest);
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>(scale * (random.uniform(stream, i) * 2 - 1));
  return values;
}

std::vector<float> random_labels(std::size_t count, std::uint32_t classes) {
  const Random random(12, Purpose::kTest);
  std::vector<float> labels(count);
  for (std::size_t i = 0; i < count; ++i) labels[i] = static_cast<float>(random.below(classes, 0, i));
  return labels;
}

/// Bits, so that NaN equals NaN and 0 differs from -0.
std::vector<std::uint32_t> bits(const std::vector<float>& values) {
  std::vector<std::uint32_t> all;
  for (const float value : values) all.push_back(std::isnan(value) ? 0x7FC00000U : std::bit_cast<std::uint32_t>(value));
  return all;
}

/// Rows of 0 to 50 entries over `dictionary` keys.
struct SparseMatrix {
  std::vector<std::uint32_t> row_begin = {0};
  std::vector<std::uint16_t> indices16;
  std::vector<std::uint32_t> indices32;
  std::vector<float> values;

  explicit SparseMatrix(std::uint32_t rows, std::uint32_t dictionary) {
    const Random random(13, Purpose::kTest);
    for (std::uint32_t i = 0; i < rows; ++i) {
      const auto entries = static_cast<std::uint32_t>(random.below(51, 0, i));
      auto key = static_cast<std::uint32_t>(random.below(dictionary / 60, 1, i));
      for (std::uint32_t e = 0; e < entries; ++e) {
        indices16.push_back(static_cast<std::uint16_t>(key));
        indices32.push_back(key);
        key += 1 + static_cast<std::uint32_t>(random.below(dictionary / 60, 2 + e, i));
      }
      row_begin.push_back(static_cast<std::uint32_t>(indices32.size()));
    }
    values = random_floats(indices32.size(), 1000);
  }

  [[nodiscard]] SparseRows rows(bool wide, bool with_values) const {
    return {.rows = static_cast<std::uint32_t>(row_begin.size() - 1),
            .row_begin = row_begin.data(),
            .indices16 = wide ? nullptr : indices16.data(),
            .indices32 = wide ? indices32.data() : nullptr,
            .values = with_values ? values.data() : nullptr};
  }
};

/// Runs `compute(kernels)` -> vector<float> at every level and demands equal bits; returns the result.
template <typename Compute>
std::vector<float> same_at_all_levels(Compute compute) {
  auto expected = compute(kernels(SimdLevel::kScalar));
  for (const auto level : levels()) EXPECT_EQ(bits(compute(kernels(level))), bits(expected)) << to_string(level);
  return expected;
}

TEST(Kernels, HaveTheLevelThatTheyWereAskedFor) {
  for (const auto level : levels()) EXPECT_EQ(kernels(level).level, level);
  EXPECT_TRUE(has_simd_level(best_simd_level()));
}

TEST(Kernels, SparseForwardSumsLaneByLane) {
  constexpr std::uint32_t kDictionary = 6000;
  const SparseMatrix matrix(201, kDictionary);
  const auto weights = random_floats(kDictionary, 1);
  for (const bool wide : {false, true}) {
    for (const bool with_values : {false, true}) {
      const auto x = matrix.rows(wide, with_values);
      const auto scores = same_at_all_levels([&](const Kernels& k) {
        std::vector<float> z(x.rows);
        k.sparse_forward(x, weights.data(), 0.25F, z.data());
        return z;
      });
      for (std::uint32_t i = 0; i < x.rows; ++i) {
        float lane[16] = {};
        for (auto j = x.row_begin[i]; j < x.row_begin[i + 1]; ++j) {
          const float w = weights[matrix.indices32[j]];
          lane[(j - x.row_begin[i]) % 16] += with_values ? w * matrix.values[j] : w;
        }
        for (std::size_t half = 8; half > 0; half /= 2) {
          for (std::size_t l = 0; l < half; ++l) lane[l] += lane[l + half];
        }
        ASSERT_EQ(scores[i], lane[0] + 0.25F) << i;
      }
    }
  }
}

TEST(Kernels, SparseBackwardAddsRowByRow) {
  constexpr std::uint32_t kDictionary = 6000;
  const SparseMatrix matrix(201, kDictionary);
  const auto residuals = random_floats(201, 2);
  for (const bool wide : {false, true}) {
    for (const bool with_values : {false, true}) {
      const auto x = matrix.rows(wide, with_values);
      const auto gradient = same_at_all_levels([&](const Kernels& k) {
        std::vector<float> g(kDictionary, 0.5F);
        k.sparse_backward(x, residuals.data(), g.data());
        return g;
      });
      std::vector<float> expected(kDictionary, 0.5F);
      for (std::uint32_t i = 0; i < x.rows; ++i) {
        for (auto j = x.row_begin[i]; j < x.row_begin[i + 1]; ++j) {
          expected[matrix.indices32[j]] += with_values ? residuals[i] * matrix.values[j] : residuals[i];
        }
      }
      EXPECT_EQ(gradient, expected);
    }
  }
}

TEST(Kernels, DenseForwardAndBackwardAgreeWithLoops) {
  for (const std::uint32_t columns : {1U, 7U, 16U, 28U, 33U, 49U, 64U, 65U, 150U}) {
    constexpr std::uint32_t kRows = 37;
    const auto matrix = random_floats(std::size_t{kRows} * columns, 3);
    const auto weights = random_floats(columns, 4);
    const auto residuals = random_floats(kRows, 5);
    const DenseRows x = {.rows = kRows, .columns = columns, .matrix = matrix.data()};
    const auto scores = same_at_all_levels([&](const Kernels& k) {
      std::vector<float> z(kRows);
      k.dense_forward(x, weights.data(), -0.5F, z.data());
      return z;
    });
    const auto gradient = same_at_all_levels([&](const Kernels& k) {
      std::vector<float> g(columns, 0.5F);
      k.dense_backward(x, residuals.data(), g.data());
      return g;
    });
    std::vector<float> expected(columns, 0.5F);
    for (std::uint32_t i = 0; i < kRows; ++i) {
      float lane[16] = {};
      for (std::uint32_t j = 0; j < columns; ++j) {
        lane[j % 16] += matrix[i * columns + j] * weights[j];
        expected[j] += matrix[i * columns + j] * residuals[i];
      }
      for (std::size_t half = 8; half > 0; half /= 2) {
        for (std::size_t l = 0; l < half; ++l) lane[l] += lane[l + half];
      }
      ASSERT_EQ(scores[i], lane[0] + -0.5F) << columns;
    }
    EXPECT_EQ(gradient, expected) << columns;
  }
}

TEST(Kernels, WideFormsAgreeWithLoops) {
  constexpr std::uint32_t kRows = 29;
  constexpr std::uint32_t kColumns = 43;
  for (const std::uint32_t lanes : {16U, 32U}) {
    const auto matrix = random_floats(std::size_t{kRows} * kColumns, 6);
    const auto weights = random_floats(std::size_t{6000} * lanes, 7);
    const auto bias = random_floats(lanes, 8);
    const auto residuals = random_floats(std::size_t{kRows} * lanes, 9);
    const DenseRows dense = {.rows = kRows, .columns = kColumns, .matrix = matrix.data()};
    const SparseMatrix sparse_matrix(kRows, 6000);
    const auto size = std::size_t{kRows} * lanes;

    std::vector<float> expected(size);
    std::vector<float> expected_gradient(std::size_t{kColumns} * lanes, 0.5F);
    for (std::size_t i = 0; i < kRows; ++i) {
      for (std::size_t j = 0; j < kColumns; ++j) {
        for (std::size_t c = 0; c < lanes; ++c) {
          expected[i * lanes + c] += weights[j * lanes + c] * matrix[i * kColumns + j];
          expected_gradient[j * lanes + c] += residuals[i * lanes + c] * matrix[i * kColumns + j];
        }
      }
      for (std::size_t c = 0; c < lanes; ++c) expected[i * lanes + c] += bias[c];
    }
    EXPECT_EQ(same_at_all_levels([&](const Kernels& k) {
                std::vector<float> z(size);
                k.dense_forward_wide(dense, lanes, weights.data(), bias.data(), z.data());
                return z;
              }),
              expected);
    EXPECT_EQ(same_at_all_levels([&](const Kernels& k) {
                std::vector<float> g(std::size_t{kColumns} * lanes, 0.5F);
                k.dense_backward_wide(dense, lanes, residuals.data(), g.data());
                return g;
              }),
              expected_gradient);

    for (const bool with_values : {false, true}) {
      for (const bool wide : {false, true}) {
        const auto x = sparse_matrix.rows(wide, with_values);
        std::vector<float> scores(size);
        std::vector<float> gradient(weights.size(), 0.5F);
        for (std::size_t i = 0; i < kRows; ++i) {
          for (auto j = x.row_begin[i]; j < x.row_begin[i + 1]; ++j) {
            const std::size_t key = sparse_matrix.indices32[j];
            const float value = with_values ? sparse_matrix.values[j] : 1.0F;
            for (std::size_t c = 0; c < lanes; ++c) {
              scores[i * lanes + c] += weights[key * lanes + c] * value;
              gradient[key * lanes + c] += residuals[i * lanes + c] * value;
            }
          }
          for (std::size_t c = 0; c < lanes; ++c) scores[i * lanes + c] += bias[c];
        }
        EXPECT_EQ(same_at_all_levels([&](const Kernels& k) {
                    std::vector<float> z(size);
                    k.sparse_forward_wide(x, lanes, weights.data(), bias.data(), z.data());
                    return z;
                  }),
                  scores);
        EXPECT_EQ(same_at_all_levels([&](const Kernels& k) {
                    std::vector<float> g(weights.size(), 0.5F);
                    k.sparse_backward_wide(x, lanes, residuals.data(), g.data());
                    return g;
                  }),
                  gradient);
      }
    }
  }
}

/// loss, residual
std::pair<double, double> point_loss_reference(PointLoss kind, double z, double y) {
  const double s = y > 0.5 ? 1 : -1;
  const double slack = 1 - s * z;
  switch (kind) {
    case PointLoss::kLogistic:
      return {s * z > 0 ? std::log1p(std::exp(-s * z)) : -s * z + std::log1p(std::exp(s * z)),
              -s / (1 + std::exp(s * z))};
    case PointLoss::kHinge:
      return {slack > 0 ? slack : 0, slack > 0 ? -s : 0};
    case PointLoss::kSquaredHinge:
      return {slack > 0 ? slack * slack : 0, slack > 0 ? -2 * s * slack : 0};
    case PointLoss::kSquaredError:
      break;
  }
  return {(z - y) * (z - y), 2 * (z - y)};
}

/// A few roundings of floats of the size of the result; what cancels in 1 - s z or z - y is as large as its operands.
double tolerance(double result, double operand) { return 8 * 0x1p-24 * std::abs(result) + 0x1p-24 * operand + 1e-37; }

TEST(Kernels, PointLossesAreAccurate) {
  for (const auto kind : kPointLosses) {
    const bool cancels = kind != PointLoss::kLogistic;
    for (const double scale : {1e-6, 1.0, 20.0, 86.0, 1e4}) {
      constexpr std::uint32_t kRows = 1003;
      const auto scores = random_floats(kRows, 10, scale);
      const auto labels = random_labels(kRows, 2);
      const auto residuals = same_at_all_levels([&](const Kernels& k) {
        std::vector<float> r(kRows);
        k.point_loss(kind, kRows, scores.data(), labels.data(), nullptr, r.data());
        return r;
      });
      double total = 0;
      double error = 0;
      for (std::uint32_t i = 0; i < kRows; ++i) {
        const double z = static_cast<double>(scores[i]);
        const auto [loss, residual] = point_loss_reference(kind, z, static_cast<double>(labels[i]));
        ASSERT_NEAR(static_cast<double>(residuals[i]), residual, tolerance(residual, cancels ? 2 * std::abs(z) + 2 : 0))
            << z;
        float alone = 0;
        const double own = kernels(best_simd_level()).point_loss(kind, 1, &scores[i], &labels[i], nullptr, &alone);
        const double operand = (std::abs(z) + 1) * (std::abs(z) + 1);
        ASSERT_NEAR(own, loss, tolerance(loss, cancels ? 4 * operand : 0)) << z;
        ASSERT_EQ(alone, residuals[i]);
        total += own;
        error += tolerance(loss, 0);
      }
      std::vector<float> r(kRows);
      EXPECT_NEAR(kernels(best_simd_level()).point_loss(kind, kRows, scores.data(), labels.data(), nullptr, r.data()),
                  total, error);
    }
  }
}

TEST(Kernels, LossesHaveTheSameBitsAtAllLevels) {
  for (const std::uint32_t rows : {0U, 1U, 15U, 16U, 17U, 1000U}) {
    const auto scores = random_floats(rows, 14, 5);
    const auto labels = random_labels(rows, 2);
    auto weights = random_floats(rows, 15);
    for (auto& weight : weights) weight = std::abs(weight);
    for (const auto kind : kPointLosses) {
      const auto compute = [&](const Kernels& k, const float* w) {
        std::vector<float> r(rows);
        return k.point_loss(kind, rows, scores.data(), labels.data(), w, r.data());
      };
      for (const auto level : levels()) {
        for (const float* w : {static_cast<const float*>(nullptr), static_cast<const float*>(weights.data())}) {
          EXPECT_EQ(compute(kernels(level), w), compute(kernels(SimdLevel::kScalar), w));
        }
      }
    }
  }
}

TEST(Kernels, WeightsMultiplyLossAndResidual) {
  const auto scores = random_floats(40, 16, 2);
  const auto labels = random_labels(40, 2);
  const std::vector<float> weights(40, 4.0F);
  for (const auto kind : kPointLosses) {
    const auto& k = kernels(best_simd_level());
    std::vector<float> plain(40);
    std::vector<float> weighted(40);
    const double loss = k.point_loss(kind, 40, scores.data(), labels.data(), nullptr, plain.data());
    EXPECT_EQ(k.point_loss(kind, 40, scores.data(), labels.data(), weights.data(), weighted.data()), 4 * loss);
    for (auto& residual : plain) residual *= 4;
    EXPECT_EQ(weighted, plain);
  }
}

TEST(Kernels, SoftmaxLossIsAccurate) {
  for (const std::uint32_t classes : {1U, 2U, 3U, 10U, 16U, 17U, 40U}) {
    const std::uint32_t lanes = (classes + 15) / 16 * 16;
    constexpr std::uint32_t kRows = 53;
    for (const double scale : {0.1, 5.0, 60.0}) {
      const auto scores = random_floats(std::size_t{kRows} * lanes, 17, scale);
      const auto labels = random_labels(kRows, classes);
      std::vector<float> weights(kRows);
      for (std::uint32_t i = 0; i < kRows; ++i) weights[i] = 0.5F * static_cast<float>(i % 4);
      for (const bool weighted : {false, true}) {
        const auto compute = [&](const Kernels& k) {
          auto all = scores;
          const double loss =
              k.softmax_loss(kRows, classes, lanes, labels.data(), weighted ? weights.data() : nullptr, all.data());
          all.push_back(static_cast<float>(loss));
          return all;
        };
        const auto result = same_at_all_levels(compute);
        double total = 0;
        for (std::size_t i = 0; i < kRows; ++i) {
          const double weight = weighted ? static_cast<double>(weights[i]) : 1.0;
          double sum = 0;
          for (std::size_t c = 0; c < classes; ++c) sum += std::exp(static_cast<double>(scores[i * lanes + c]));
          const auto label = static_cast<std::size_t>(labels[i]);
          total += weight * (std::log(sum) - static_cast<double>(scores[i * lanes + label]));
          for (std::size_t c = 0; c < lanes; ++c) {
            const double share = std::exp(static_cast<double>(scores[i * lanes + c])) / sum;
            const double expected = c < classes ? weight * (share - (c == label ? 1 : 0)) : 0;
            // Rounding of the differences of scores is relative to the scores.
            ASSERT_NEAR(static_cast<double>(result[i * lanes + c]), expected,
                        0x1p-24 * weight * (8 + 2 * scale) + 1e-37);
          }
        }
        EXPECT_NEAR(static_cast<double>(result.back()), total, 1e-6 * (std::abs(total) + scale));
      }
    }
  }
}

TEST(Kernels, NonFiniteScoresGiveANonFiniteLossAndResidual) {
  for (const auto level : levels()) {
    for (const float bad : {kInfinity, -kInfinity, kNan}) {
      for (const float label : {0.0F, 1.0F}) {
        for (const auto kind : kPointLosses) {
          std::vector<float> scores(20, 0.5F);
          scores[18] = bad;
          const std::vector<float> labels(20, label);
          const double loss = kernels(level).point_loss(kind, 20, scores.data(), labels.data(), nullptr, scores.data());
          EXPECT_FALSE(std::isfinite(loss));
          EXPECT_FALSE(std::isfinite(scores[18]));
          EXPECT_TRUE(std::isfinite(scores[17]));
        }
        std::vector<float> scores(std::size_t{2} * 16, 0.5F);
        scores[17] = bad;
        const std::vector<float> labels(2, label);
        const double loss = kernels(level).softmax_loss(2, 3, 16, labels.data(), nullptr, scores.data());
        // A class with score -infinity has probability 0, which is only wrong if it is the label's.
        if (bad != -kInfinity || label == 1.0F) {
          EXPECT_FALSE(std::isfinite(loss)) << bad << " " << label;
        }
      }
    }
  }
}

TEST(Kernels, SumsOverLanesAndRows) {
  for (const std::uint32_t count : {0U, 1U, 16U, 31U, 1000U}) {
    const auto values = random_floats(count, 18);
    float lane[16] = {};
    for (std::uint32_t i = 0; i < count; ++i) lane[i % 16] += values[i];
    for (std::size_t half = 8; half > 0; half /= 2) {
      for (std::size_t l = 0; l < half; ++l) lane[l] += lane[l + half];
    }
    EXPECT_EQ(same_at_all_levels([&](const Kernels& k) { return std::vector<float>{k.sum(count, values.data())}; }),
              std::vector<float>{lane[0]});
  }
  const auto values = random_floats(std::size_t{33} * 32, 19);
  std::vector<float> expected(32, 1.0F);
  for (std::size_t i = 0; i < values.size(); ++i) expected[i % 32] += values[i];
  EXPECT_EQ(same_at_all_levels([&](const Kernels& k) {
              std::vector<float> sums(32, 1.0F);
              k.sum_wide(33, 32, values.data(), sums.data());
              return sums;
            }),
            expected);
}

// --- Clusters

struct ClusterResult {
  std::vector<std::uint32_t> nearest;
  std::vector<double> sums, distances;
  bool operator==(const ClusterResult&) const = default;
};

ClusterResult dense_clusters(SimdLevel level, const DenseRows& x, std::uint32_t k, const std::vector<float>& centres,
                             const float* weights) {
  const auto& kernel = kernels(level);
  const std::uint32_t padded = (x.columns + 15) / 16 * 16;
  std::vector<float> shift(x.columns, 0.25F), shifted(centres.size()), half_norms(k),
      scratch(std::size_t{32} * x.columns);
  std::vector<float> by_cluster(std::size_t{k} * padded);
  for (std::uint32_t f = 0; f < x.columns; ++f) {
    for (std::uint32_t c = 0; c < k; ++c) {
      const float moved = centres[f * k + c] - shift[f];
      shifted[f * k + c] = moved;
      half_norms[c] += moved * moved / 2;
      by_cluster[std::size_t{c} * padded + f] = centres[f * k + c];
    }
  }
  ClusterResult result;
  result.nearest.resize(x.rows);
  result.sums.resize(std::size_t{k} * padded);
  result.distances.resize(std::size_t{k} * 16);
  kernel.nearest_dense(x, {k, shift.data(), shifted.data(), half_norms.data()}, scratch.data(), result.nearest.data());
  std::vector<std::uint32_t> begin = {0}, order;
  for (std::uint32_t c = 0; c < k; ++c) {
    for (std::uint32_t i = 0; i < x.rows; ++i) {
      if (result.nearest[i] == c) order.push_back(i);
    }
    begin.push_back(static_cast<std::uint32_t>(order.size()));
  }
  kernel.cluster_sums_dense(x, {k, begin.data(), order.data()}, padded, by_cluster.data(), weights, result.sums.data(),
                            result.distances.data());
  return result;
}

TEST(ClusterKernels, AssignDenseRowsToTheNearestCentreAndSumThemWithTheSameBitsOnEveryLevel) {
  for (const std::uint32_t columns : {1U, 3U, 16U, 28U, 50U}) {
    for (const std::uint32_t k : {1U, 2U, 7U, 10U, 25U}) {
      constexpr std::uint32_t kRows = 77;
      const auto matrix = random_floats(std::size_t{kRows} * columns, columns);
      const auto centres = random_floats(std::size_t{k} * columns, 100 + columns);
      const auto weights = random_floats(kRows, 7);
      const DenseRows x{.rows = kRows, .columns = columns, .matrix = matrix.data()};
      for (const float* of_rows : {static_cast<const float*>(nullptr), weights.data()}) {
        const auto scalar = dense_clusters(SimdLevel::kScalar, x, k, centres, of_rows);
        for (const auto level : levels()) EXPECT_EQ(dense_clusters(level, x, k, centres, of_rows), scalar);

        const std::uint32_t padded = (columns + 15) / 16 * 16;
        std::vector<double> sums(std::size_t{k} * padded), distances(k);
        for (std::uint32_t i = 0; i < kRows; ++i) {
          std::vector<double> squares(k);
          for (std::uint32_t c = 0; c < k; ++c) {
            for (std::uint32_t f = 0; f < columns; ++f) {
              const double d = double{matrix[i * columns + f]} - double{centres[f * k + c]};
              squares[c] += d * d;
            }
          }
          const auto chosen = scalar.nearest[i];
          const auto lowest = *std::min_element(squares.begin(), squares.end());
          // Scores are sums of `columns` products of floats below 1.6.
          EXPECT_LE(squares[chosen], lowest + 1e-6 * columns);
          const double weight = of_rows == nullptr ? 1 : double{of_rows[i]};
          distances[chosen] += weight * squares[chosen];
          for (std::uint32_t f = 0; f < columns; ++f) {
            sums[chosen * padded + f] += weight * double{matrix[i * columns + f]};
          }
        }
        EXPECT_EQ(scalar.sums, sums);  // the same order, in doubles
        for (std::uint32_t c = 0; c < k; ++c) {
          double sum = 0;
          for (std::uint32_t lane = 0; lane < 16; ++lane) sum += scalar.distances[c * 16 + lane];
          EXPECT_NEAR(sum, distances[c], 1e-6 * std::abs(distances[c]) + 1e-5);  // squares of floats
        }
      }
    }
  }
}

TEST(ClusterKernels, AssignSparseRowsToTheNearestCentreWithTheSameBitsOnEveryLevel) {
  constexpr std::uint32_t kDictionary = 3200, kRows = 60;
  const SparseMatrix matrix(kRows, kDictionary);
  for (const std::uint32_t k : {1U, 10U, 20U}) {
    const std::uint32_t lanes = (k + 15) / 16 * 16;
    std::vector<double> centres(std::size_t{kDictionary} * lanes), norms(lanes, double{kInfinity});
    const auto values = random_floats(std::size_t{kDictionary} * k, 500 + k, 0.2);
    for (std::uint32_t c = 0; c < k; ++c) {
      norms[c] = 0;
      for (std::uint32_t f = 0; f < kDictionary; ++f) {
        const double value = f % 3 == c % 3 ? double{values[f * k + c]} : 0;
        centres[std::size_t{f} * lanes + c] = value;
        norms[c] += value * value;
      }
    }
    for (const bool wide : {false, true}) {
      for (const bool with_values : {false, true}) {
        const auto x = matrix.rows(wide, with_values);
        std::vector<std::uint32_t> expected_nearest(kRows);
        std::vector<double> expected(kRows);
        kernels(SimdLevel::kScalar)
            .nearest_sparse(x, lanes, centres.data(), norms.data(), expected_nearest.data(), expected.data());
        for (const auto level : levels()) {
          std::vector<std::uint32_t> nearest(kRows);
          std::vector<double> distances(kRows);
          kernels(level).nearest_sparse(x, lanes, centres.data(), norms.data(), nearest.data(), distances.data());
          EXPECT_EQ(nearest, expected_nearest);
          EXPECT_EQ(distances, expected);
        }
        for (std::uint32_t i = 0; i < kRows; ++i) {
          std::vector<double> row(kDictionary), squares(k);
          for (auto e = x.row_begin[i]; e < x.row_begin[i + 1]; ++e) {
            row[matrix.indices32[e]] = with_values ? double{matrix.values[e]} : 1;
          }
          for (std::uint32_t c = 0; c < k; ++c) {
            for (std::uint32_t f = 0; f < kDictionary; ++f) {
              const double d = row[f] - centres[std::size_t{f} * lanes + c];
              squares[c] += d * d;
            }
          }
          const auto lowest = *std::min_element(squares.begin(), squares.end());
          EXPECT_NEAR(squares[expected_nearest[i]], lowest, 1e-12 * (1 + norms[0]));
          EXPECT_NEAR(expected[i], lowest, 1e-12 * (1 + norms[0]));
        }
      }
    }
  }
}

// --- Gaussian components: each sum in the order that the header says, so the bits are those of plain loops.

TEST(GaussianKernels, GiveDenseRowsTheBitsOfPlainLoops) {
  constexpr std::uint32_t kPanel = 32;
  for (const std::uint32_t columns : {1U, 16U, 19U, 50U}) {
    const std::uint32_t padded = (columns + 15) / 16 * 16;
    const auto values = random_floats(std::size_t{kPanel} * columns, columns);
    const auto numbers = random_floats(std::size_t{columns} * (columns + 3), 50 + columns);
    std::vector<double> x(std::size_t{kPanel} * padded), panel(std::size_t{kPanel} * columns), mean(padded);
    std::vector<double> precisions(columns), factor(std::size_t{columns} * (columns + 1) / 2), shares(kPanel);
    for (std::uint32_t j = 0; j < columns; ++j) {
      mean[j] = double{numbers[j]};
      precisions[j] = 2 + double{numbers[columns + j]};
      for (std::uint32_t i = 0; i < kPanel; ++i) {
        x[i * padded + j] = panel[j * kPanel + i] = double{values[i * columns + j]};
      }
    }
    for (std::size_t i = 0; i < factor.size(); ++i) factor[i] = double{numbers[i]};
    for (std::uint32_t i = 0; i < kPanel; ++i) shares[i] = i % 5 == 2 ? 0 : 0.125 + double{values[i]} / 9;

    std::vector<double> diagonal(kPanel), triangular(kPanel), first(padded), second(padded), matrix(columns * padded);
    constexpr std::uint32_t kRows = 27;  // of which some have no share
    for (std::uint32_t i = 0; i < kPanel; ++i) {
      std::vector<double> d;
      for (std::uint32_t j = 0; j < columns; ++j) d.push_back(x[i * padded + j] - mean[j]);
      for (std::uint32_t j = 0; j < columns; ++j) {
        diagonal[i] += d[j] * d[j] * precisions[j];
        double product = 0;
        for (std::uint32_t m = 0; m <= j; ++m) product += d[m] * factor[j * (j + 1) / 2 + m];
        triangular[i] += product * product;
        if (i >= kRows || shares[i] == 0) continue;
        const double weighted = d[j] * shares[i];
        first[j] += weighted;
        second[j] += weighted * d[j];
        for (std::uint32_t m = 0; m <= j; ++m) matrix[j * padded + m] += d[m] * weighted;
      }
    }
    for (const auto level : levels()) {
      const auto& kernel = kernels(level);
      std::vector<double> squares(kPanel), scratch(std::size_t{2} * kPanel * padded);
      kernel.diagonal_squares(columns, panel.data(), mean.data(), precisions.data(), squares.data());
      EXPECT_EQ(squares, diagonal);
      kernel.triangular_squares(columns, panel.data(), mean.data(), factor.data(), scratch.data(), squares.data());
      EXPECT_EQ(squares, triangular);
      std::vector<double> firsts(padded), seconds(padded), matrices(columns * padded);
      kernel.diagonal_moments(kRows, padded, x.data(), mean.data(), shares.data(), firsts.data(), seconds.data());
      EXPECT_EQ(firsts, first);
      EXPECT_EQ(seconds, second);
      firsts.assign(padded, 0);
      kernel.full_moments(kRows, columns, padded, x.data(), mean.data(), shares.data(), scratch.data(), firsts.data(),
                          matrices.data());
      EXPECT_EQ(firsts, first);
      for (std::uint32_t j = 0; j < columns; ++j) {
        for (std::uint32_t m = 0; m <= j; ++m) EXPECT_EQ(matrices[j * padded + m], matrix[j * padded + m]);
      }
    }
  }
}

TEST(GaussianKernels, GiveSparseRowsTheBitsOfPlainLoops) {
  constexpr std::uint32_t kDictionary = 3200, kRows = 60;
  const SparseMatrix matrix(kRows, kDictionary);
  for (const std::uint32_t lanes : {16U, 32U}) {
    const auto numbers = random_floats(std::size_t{kDictionary} * 2 * lanes, lanes);
    const std::vector<double> terms(numbers.begin(), numbers.end()), constants(terms.begin(), terms.begin() + lanes);
    for (const bool wide : {false, true}) {
      for (const bool with_values : {false, true}) {
        const auto x = matrix.rows(wide, with_values);
        std::vector<double> expected(std::size_t{kRows} * lanes);
        for (std::uint32_t i = 0; i < kRows; ++i) {
          for (std::uint32_t lane = 0; lane < lanes; ++lane) {
            double sum = constants[lane];
            for (auto e = x.row_begin[i]; e < x.row_begin[i + 1]; ++e) {
              const double value = with_values ? double{matrix.values[e]} : 1;
              const auto* const term = terms.data() + std::size_t{matrix.indices32[e]} * 2 * lanes + lane;
              sum += (term[0] - term[lanes] * value) * value;
            }
            expected[i * lanes + lane] = sum;
          }
        }
        for (const auto level : levels()) {
          std::vector<double> densities(expected.size());
          kernels(level).sparse_log_densities(x, lanes, terms.data(), constants.data(), densities.data());
          EXPECT_EQ(densities, expected);
        }
      }
    }
  }
}

}  // namespace
}  // namespace virga
