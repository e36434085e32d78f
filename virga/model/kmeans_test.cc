#include "virga/model/kmeans.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include <gtest/gtest.h>

#include "virga/base/random.h"

namespace virga {
namespace {

constexpr std::uint32_t kColumns = 40;

/// Rows with some zeros, dense or sparse; the same numbers in both forms. Every second column is in no sparse
/// dictionary of the first group.
std::shared_ptr<RowGroup> cluster_rows(std::uint32_t number, std::uint32_t rows, bool dense, bool weights,
                                       double offset) {
  const Random random(3, Purpose::kTest);
  auto group = std::make_shared<RowGroup>();
  group->rows = rows;
  group->dense = dense;
  group->columns = dense ? kColumns : 0;
  const std::uint32_t every = number == 0 ? 2 : 1;
  if (!dense) {
    for (std::uint32_t f = 0; f < kColumns; f += every) group->keys.push_back(f);
    group->row_begin.push_back(0);
  }
  for (std::uint32_t i = 0; i < rows; ++i) {
    const auto item = number * 100'000ULL + i;
    for (std::uint32_t f = 0; f < kColumns; ++f) {
      const bool there = f % every == 0 && random.uniform(f, item, 1) < 0.4;
      const float value = there ? static_cast<float>(offset + random.uniform(f, item) * 2 - 1) : 0.0F;
      if (dense) {
        group->matrix.push_back(value);
      } else if (there) {
        group->indices16.push_back(static_cast<std::uint16_t>(f / every));
        group->values.push_back(value);
      }
    }
    if (!dense) group->row_begin.push_back(static_cast<std::uint32_t>(group->values.size()));
    if (weights) group->weights.push_back(static_cast<float>(0.5 + random.uniform(1000, item)));
  }
  return group;
}

double value_at(const RowGroup& group, std::uint32_t row, std::uint32_t feature) {
  if (group.dense) return double{group.matrix[row * kColumns + feature]};
  for (auto e = group.row_begin[row]; e < group.row_begin[row + 1]; ++e) {
    if (group.keys[group.index(e)] == feature) return double{group.values[e]};
  }
  return 0;
}

struct KMeansCase {
  bool dense;
  bool weights;
  double offset;  // of the values that are there: how far from 0 the rows lie
};

class KMeansStatistics : public testing::TestWithParam<KMeansCase> {
 protected:
  KMeansStatistics() {
    const auto& [dense, weights, offset] = GetParam();
    spec = {.kind = ModelKind::kKMeans, .features = kColumns, .dense = dense, .clusters = 5};
    groups = {cluster_rows(0, 50, dense, weights, offset), cluster_rows(1, 70, dense, weights, offset)};
    for (std::uint32_t c = 0; c < spec.clusters; ++c) {
      for (std::uint32_t f = 0; f < kColumns; ++f) {
        centres.values[0][f * spec.clusters + c] = static_cast<float>(value_at(*groups[1], c * 3, f));
      }
    }
  }

  [[nodiscard]] double square(const RowGroup& group, std::uint32_t row, std::uint32_t cluster) const {
    double sum = 0;
    for (std::uint32_t f = 0; f < kColumns; ++f) {
      const double d = value_at(group, row, f) - double{centres.values[0][f * spec.clusters + cluster]};
      sum += d * d;
    }
    return sum;
  }
  [[nodiscard]] std::uint32_t nearest(const RowGroup& group, std::uint32_t row) const {
    std::uint32_t best = 0;
    for (std::uint32_t c = 1; c < spec.clusters; ++c) {
      if (square(group, row, c) < square(group, row, best)) best = c;
    }
    return best;
  }

  ModelSpec spec;
  std::vector<std::shared_ptr<RowGroup>> groups;
  Tables centres{layout_of({.kind = ModelKind::kKMeans, .features = kColumns, .clusters = 5})};
};

TEST_P(KMeansStatistics, AreTheSumsOfEachClustersRows) {
  const auto tolerance = 1e-12 * (1 + GetParam().offset * GetParam().offset) * kColumns * 70;
  BatchAssembler assembler(kColumns);
  const RowRange ranges[] = {{groups[0], 10, 50}, {groups[1], 0, 33}};
  const auto batch = assembler.assemble(ranges);
  KMeans model(spec, kernels(best_simd_level()));
  Contribution out;
  model.gradient(batch, {.tables = centres.values, .version = 7}, out);
  auto again = out;
  model.gradient(batch, {.tables = centres.values, .version = 7}, again);
  EXPECT_EQ(again.tables, out.tables) << "what was made for a version is used again";

  std::vector<std::vector<double>> sums(kColumns, std::vector<double>(spec.clusters));
  std::vector<double> weights(spec.clusters), squares(spec.clusters);
  for (const auto& [group, first, last] : ranges) {
    for (auto i = first; i < last; ++i) {
      const auto c = nearest(*group, i);
      const double weight = group->weights.empty() ? 1 : double{group->weights[i]};
      weights[c] += weight;
      squares[c] += weight * square(*group, i, c);
      for (std::uint32_t f = 0; f < kColumns; ++f) sums[f][c] += weight * value_at(*group, i, f);
    }
  }
  ASSERT_EQ(out.tables.size(), 2U);
  EXPECT_EQ(out.tables[0].keys, batch.keys);
  const auto rows = spec.dense ? kColumns : static_cast<std::uint32_t>(batch.keys.size());
  ASSERT_EQ(out.tables[0].doubles.size(), std::size_t{rows} * spec.clusters);
  double loss = 0, weight = 0;
  for (std::uint32_t c = 0; c < spec.clusters; ++c) {
    for (std::uint32_t r = 0; r < rows; ++r) {
      EXPECT_NEAR(out.tables[0].doubles[std::size_t{r} * spec.clusters + c], sums[spec.dense ? r : batch.keys[r]][c],
                  tolerance);
    }
    EXPECT_NEAR(out.tables[1].doubles[2 * c], weights[c], 1e-12);
    // Of dense rows each square is a sum of floats.
    EXPECT_NEAR(out.tables[1].doubles[2 * c + 1], squares[c], tolerance + (spec.dense ? 1e-6 * squares[c] : 0));
    loss += squares[c];
    weight += weights[c];
  }
  EXPECT_NEAR(out.loss, loss, tolerance + (spec.dense ? 1e-6 * loss : 0));
  EXPECT_NEAR(out.weight, weight, 1e-12);
  EXPECT_EQ(out.examples, 73U);
}

TEST_P(KMeansStatistics, ScoresAreSquaredDistancesAndTheLossThatOfTheNearest) {
  KMeans model(spec, kernels(best_simd_level()));
  for (const bool prepared : {false, true}) {
    if (prepared) model.prepare(centres);
    for (const auto& group : groups) {
      std::vector<float> scores(std::size_t{group->rows} * spec.clusters);
      model.scores(*group, centres, scores);
      double loss = 0;
      for (std::uint32_t i = 0; i < group->rows; ++i) {
        for (std::uint32_t c = 0; c < spec.clusters; ++c) {
          const auto expected = square(*group, i, c);
          EXPECT_NEAR(double{scores[i * spec.clusters + c]}, expected, 1e-6 * expected + 1e-8);
        }
        loss += (group->weights.empty() ? 1 : double{group->weights[i]}) * square(*group, i, nearest(*group, i));
      }
      const auto sums = model.losses(*group, centres);
      EXPECT_NEAR(sums.loss, loss, spec.dense ? 1e-6 * loss : 1e-9 * (1 + GetParam().offset * GetParam().offset));
      EXPECT_EQ(sums.examples, group->rows);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, KMeansStatistics,
                         testing::Values(KMeansCase{true, false, 0}, KMeansCase{true, true, 0},
                                         KMeansCase{false, false, 0}, KMeansCase{false, true, 0},
                                         KMeansCase{true, false, 1000}, KMeansCase{false, false, 1000}));

TEST(MoveCentres, TakesTheMeanOfEachClustersRows) {
  const ModelSpec spec{.kind = ModelKind::kKMeans, .features = 2, .dense = true, .clusters = 2};
  std::vector<float> centres = {9, 9, 9, 9};
  (void)move_centres(spec, std::vector<std::vector<double>>{{2, 3, 4, -6}, {4, 1, 2, 1}}, 1, 0, centres);
  EXPECT_EQ(centres, (std::vector<float>{0.5F, 1.5F, 1.0F, -3.0F}));
}

TEST(MoveCentres, GivesAnEmptyClusterHalfOfTheOneThatIsFarthestFromItsCentre) {
  const ModelSpec spec{.kind = ModelKind::kKMeans, .features = 2, .dense = true, .clusters = 4};
  const std::vector<std::vector<double>> statistics = {{0, 10, 0, 40, 0, 10, 0, 80},  // [features x clusters]
                                                       {0, 0, 5, 1, 0, 0, 10, 180}};  // [clusters x 2]
  std::vector<float> centres(8, 9.0F);
  EXPECT_TRUE(move_centres(spec, statistics, 1, 0, centres));
  // The mean of cluster 3 is (4, 8); its rows are sqrt(18) away, so 3 in each of two directions: 3/16. Then its halves
  // have 90 each, and the first of them, which is cluster 0, is split for cluster 2.
  const auto at = [&](std::size_t f, std::size_t c) { return double{centres[f * 4 + c]}; };
  EXPECT_EQ(at(0, 1), 2);
  EXPECT_EQ(at(1, 1), 2);
  EXPECT_EQ(std::abs(at(0, 3) - 4), 3.0 / 16);
  EXPECT_EQ(std::abs(at(1, 3) - 8), 3.0 / 16);
  for (std::size_t f = 0; f < 2; ++f) {
    const auto other = 2 * (f == 0 ? 4.0 : 8.0) - at(f, 3);  // where cluster 0 was put
    EXPECT_EQ((at(f, 0) + at(f, 2)) / 2, other);
    EXPECT_EQ(std::abs(at(f, 0) - at(f, 2)), 6.0 / 16);
  }
  auto once_more = std::vector<float>(8, 9.0F);
  (void)move_centres(spec, statistics, 1, 0, once_more);
  EXPECT_EQ(once_more, centres);
  const auto sparse = ModelSpec{.kind = ModelKind::kKMeans, .features = 2, .dense = false, .clusters = 2};
  std::vector<float> of_sparse(4, 9.0F);
  (void)move_centres(sparse, std::vector<std::vector<double>>{{6, 0, 0, 0}, {2, 8, 0, 0}}, 1, 0, of_sparse);
  EXPECT_EQ(std::abs(of_sparse[0] - 3), 2.0F / 16);
  EXPECT_EQ(of_sparse[0] + of_sparse[1], 6.0F);
  EXPECT_EQ(of_sparse[2], 0.0F) << "a feature that the cluster does not have stays 0";
  EXPECT_EQ(of_sparse[3], 0.0F);
}

TEST(MoveCentres, LeavesAnEmptyClusterWhereItIsWhenAllRowsAreOnTheirCentres) {
  const ModelSpec spec{.kind = ModelKind::kKMeans, .features = 1, .dense = true, .clusters = 2};
  std::vector<float> centres = {1, 7};
  EXPECT_FALSE(move_centres(spec, std::vector<std::vector<double>>{{6, 0}, {3, 0, 0, 0}}, 1, 0, centres));
  EXPECT_EQ(centres, (std::vector<float>{2, 7}));
}

}  // namespace
}  // namespace virga
