#include <benchmark/benchmark.h>

#include "virga/base/random.h"
#include "virga/training/metrics.h"

namespace virga {
namespace {

struct Rows {
  std::vector<float> scores;
  std::vector<float> labels;
};

Rows binary_rows(std::uint64_t count) {
  const Random random(1, Purpose::kTest);
  Rows rows;
  for (std::uint64_t i = 0; i < count; ++i) {
    rows.scores.push_back(static_cast<float>(random.uniform(0, i) * 6 - 3));
    rows.labels.push_back(random.uniform(1, i) < 0.26 ? 1.0F : 0.0F);
  }
  return rows;
}

/// What a group costs on its thread (losses, predictions, rank keys), without scoring it.
void BM_MetricsPart(benchmark::State& state) {
  const auto rows = binary_rows(1000);
  for (auto _ : state) benchmark::DoNotOptimize(metrics_part(LossKind::kLogistic, 2, rows.scores, rows.labels, {}));
  state.SetItemsProcessed(state.iterations() * 1000);
}
BENCHMARK(BM_MetricsPart);

/// What all groups together cost in order, on one thread: adding up, then ranking (sorted up to 4 M rows, binned
/// above).
void BM_AddAndFinish(benchmark::State& state) {
  const auto rows = binary_rows(1000);
  const auto part = metrics_part(LossKind::kLogistic, 2, rows.scores, rows.labels, {});
  for (auto _ : state) {
    Metrics metrics(LossKind::kLogistic, 2);
    for (std::int64_t i = 0; i < state.range(0); i += 1000) metrics.add(part);
    benchmark::DoNotOptimize(metrics.finish());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_AddAndFinish)
    ->Arg(100'000)
    ->Arg(1'000'000)
    ->Arg(4'000'000)
    ->Arg(10'000'000)
    ->Unit(benchmark::kMillisecond);

/// The same rows' ranking, no two rows alike: the slowest case of the sort.
void BM_RankDistinctRows(benchmark::State& state) {
  const auto rows = binary_rows(static_cast<std::uint64_t>(state.range(0)));
  std::vector<RankedRow> ranked;
  for (std::size_t i = 0; i < rows.scores.size(); ++i)
    ranked.push_back(ranked_row(rows.scores[i], 1, rows.labels[i] > 0));
  for (auto _ : state) {
    RankingCurve curve;
    curve.add(ranked);
    benchmark::DoNotOptimize(curve.finish());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_RankDistinctRows)->Arg(100'000)->Arg(4'000'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace virga
