// One iteration of Lloyd's algorithm on one core: each row to its nearest centre, and into the sums of its cluster; and
// one of expectation maximisation of a mixture: responsibilities, and each row into the sums of all components. The
// rows are in groups, as they are trained on; there is no reading, no exchange and no step of the centres, which are a
// thousandth of it.
#include <benchmark/benchmark.h>

#include "virga/base/random.h"
#include "virga/model/gaussian_mixture.h"
#include "virga/model/kmeans.h"

namespace virga {
namespace {

constexpr std::uint32_t kGroupRows = 1000;

MiniBatch dense_rows(std::uint32_t rows, std::uint32_t columns) {
  const Random random(1, Purpose::kTest);
  MiniBatch batch;
  for (std::uint32_t first = 0; first < rows; first += kGroupRows) {
    auto group = std::make_shared<RowGroup>();
    group->rows = kGroupRows;
    group->dense = true;
    group->columns = columns;
    group->matrix.resize(std::size_t{kGroupRows} * columns);
    for (std::size_t i = 0; i < group->matrix.size(); ++i) {
      group->matrix[i] = static_cast<float>(random.uniform(first, i));
    }
    batch.slices.push_back({.group = group, .first_row = 0, .last_row = kGroupRows, .all_used = true});
    batch.rows += kGroupRows;
  }
  return batch;
}

/// The first rows are the centres.
CompactParameters first_rows(const MiniBatch& batch, const ModelSpec& spec) {
  CompactParameters parameters{.tables = {std::vector<float>(std::size_t{spec.features} * spec.clusters)},
                               .version = 1};
  for (std::uint32_t c = 0; c < spec.clusters; ++c) {
    for (std::uint32_t f = 0; f < spec.features; ++f) {
      parameters.tables[0][f * spec.clusters + c] = batch.slices[0].group->matrix[c * spec.features + f];
    }
  }
  return parameters;
}

void BM_LloydDense(benchmark::State& state) {
  const auto rows = static_cast<std::uint32_t>(state.range(0));
  const ModelSpec spec{.kind = ModelKind::kKMeans,
                       .features = static_cast<std::uint32_t>(state.range(1)),
                       .dense = true,
                       .clusters = static_cast<std::uint32_t>(state.range(2))};
  const auto batch = dense_rows(rows, spec.features);
  const auto parameters = first_rows(batch, spec);
  KMeans model(spec, kernels(best_simd_level()));
  Contribution out;
  for (auto _ : state) {
    model.gradient(batch, parameters, out);
    benchmark::DoNotOptimize(out.loss);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_LloydDense)
    ->ArgNames({"rows", "columns", "clusters"})
    ->Args({1'000'000, 28, 10})
    ->Args({100'000, 784, 10})
    ->Unit(benchmark::kMillisecond);

void BM_MixtureDense(benchmark::State& state) {
  const auto rows = static_cast<std::uint32_t>(state.range(0));
  const ModelSpec spec{.kind = ModelKind::kGaussianMixture,
                       .features = static_cast<std::uint32_t>(state.range(1)),
                       .dense = true,
                       .clusters = static_cast<std::uint32_t>(state.range(2)),
                       .covariance = state.range(3) == 0 ? CovarianceKind::kDiagonal : CovarianceKind::kFull};
  const auto batch = dense_rows(rows, spec.features);
  // Variances of a row's features, so that components share rows.
  Tables tables(layout_of(spec));
  tables.values[0] = first_rows(batch, spec).tables[0];
  const std::size_t n = spec.features, k = spec.clusters;
  for (std::size_t c = 0; c < k; ++c) {
    for (std::size_t f = 0; f < n; ++f) {
      const auto at =
          spec.covariance == CovarianceKind::kFull ? (c * n * (n + 1) + (f + 1) * (f + 2)) / 2 - 1 : f * k + c;
      tables.values[1][at] = spec.covariance == CovarianceKind::kFull ? 0.3F : 0.09F;
    }
    tables.values[2][c] = 1 / static_cast<float>(k);
  }
  const CompactParameters parameters{.tables = tables.values, .version = 1};
  GaussianMixture model(spec, kernels(best_simd_level()));
  Contribution out;
  for (auto _ : state) {
    model.gradient(batch, parameters, out);
    benchmark::DoNotOptimize(out.loss);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_MixtureDense)
    ->ArgNames({"rows", "columns", "components", "full"})
    ->Args({1'000'000, 28, 10, 0})
    ->Args({1'000'000, 28, 10, 1})
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace virga
