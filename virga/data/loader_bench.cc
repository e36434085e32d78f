#include <benchmark/benchmark.h>

#include "virga/data/loader.h"
#include "virga/data/set_testing.h"

namespace virga {
namespace {

constexpr std::uint64_t kRows = 1000000;

/// A million rows of click logs in blocks, in the page cache; 64 distinct groups.
TestSet& clicks() {
  static TestSet set({.train_rows = kRows, .distinct_groups = 64});
  return set;
}

/// One epoch, cold: reading, decoding, assembling; no computing. With the prefetching thread the wall clock counts.
void BM_FirstEpoch(benchmark::State& state) {
  auto& set = clicks();
  const Schedule schedule(set.manifest().train, 1000, 1, static_cast<std::uint64_t>(state.range(0)));
  for (auto _ : state) {
    GroupCache cache(set.store(), set.manifest(), std::uint64_t{1} << 30);
    BatchSource source(cache, schedule, {.prefetch = static_cast<std::size_t>(state.range(1))});
    for (std::uint64_t round = 0; round < schedule.rounds_per_epoch(); ++round) {
      benchmark::DoNotOptimize(source.batch(round).rows);
    }
    state.counters["reads"] = static_cast<double>(cache.statistics().reads);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRows));
}
BENCHMARK(BM_FirstEpoch)
    ->ArgNames({"batch", "prefetch"})
    ->ArgsProduct({{1000, 6000}, {0, 16}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

/// A later epoch: everything is in the cache.
void BM_LaterEpoch(benchmark::State& state) {
  auto& set = clicks();
  const Schedule schedule(set.manifest().train, 1000, 1, static_cast<std::uint64_t>(state.range(0)));
  GroupCache cache(set.store(), set.manifest(), std::uint64_t{1} << 30);
  BatchSource source(cache, schedule, {.prefetch = static_cast<std::size_t>(state.range(1))});
  std::uint64_t round = 0;
  for (; round < schedule.rounds_per_epoch(); ++round) benchmark::DoNotOptimize(source.batch(round).rows);
  for (auto _ : state) benchmark::DoNotOptimize(source.batch(round++).rows);
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_LaterEpoch)
    ->ArgNames({"batch", "prefetch"})
    ->ArgsProduct({{1000, 6000}, {0, 16}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

/// Reading and decoding alone, in the order of storage, as an evaluation does it.
void BM_ForEachGroup(benchmark::State& state) {
  auto& set = clicks();
  for (auto _ : state) {
    GroupCache cache(set.store(), set.manifest(), std::uint64_t{1} << 30);
    for_each_group(cache, SplitName::kTrain, static_cast<unsigned>(state.range(0)),
                   [](std::size_t, const RowGroupPtr& group) { benchmark::DoNotOptimize(group->rows); });
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kRows));
}
BENCHMARK(BM_ForEachGroup)->ArgName("threads")->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace virga
