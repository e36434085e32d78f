#include <algorithm>
#include <vector>

#include <benchmark/benchmark.h>

#include "virga/base/random.h"
#include "virga/base/threads.h"
#include "virga/exchange/memory_exchange.h"

namespace virga {
namespace {

constexpr std::uint32_t kRows = 1U << 20;
constexpr std::uint32_t kKeys = 12'000;
constexpr Round kLists = 16;    // different mini-batches, used in turn
constexpr Round kRounds = 200;  // between the starts of threads, which are not left out

/// Mini-batches of one rank: kKeys random keys, of which half are the same on every rank.
std::vector<Contribution> contributions_of(unsigned rank, std::uint32_t width) {
  const Random random(1, Purpose::kTest);
  std::vector<Contribution> lists(kLists);
  for (std::uint32_t list = 0; list < kLists; ++list) {
    auto& c = lists[list];
    c.tables.resize(2);
    auto& sparse = c.tables[0];
    for (std::uint32_t i = 0; i < kKeys; ++i) {
      sparse.keys.push_back(static_cast<std::uint32_t>(random.below(kRows, list, i, i % 2 == 0 ? 0 : 1 + rank)));
    }
    std::ranges::sort(sparse.keys);
    sparse.keys.erase(std::unique(sparse.keys.begin(), sparse.keys.end()), sparse.keys.end());
    for (std::size_t i = 0; i < sparse.keys.size() * width; ++i) {
      sparse.values.push_back(static_cast<float>(random.uniform(list, i, 99) - 0.5));
    }
    c.tables[1] = {.whole = true, .keys = {}, .values = std::vector<float>(width, 0.1F)};
    c.weight = 500;
  }
  return lists;
}

/// Rounds of read and write, the gradient given: what an exchange adds to a round, with the sum, the update rule
/// (AdaGrad) and two meetings of the ranks. Items are the keys of one rank.
void BM_Round(benchmark::State& state) {
  const auto ranks = static_cast<unsigned>(state.range(0));
  const auto width = static_cast<std::uint32_t>(state.range(2));
  const Tables start({{.name = "weights", .rows = kRows, .width = width, .regularised = true, .sparse = true},
                      {.name = "bias", .rows = 1, .width = width, .regularised = false, .sparse = false}});
  MemoryExchange exchange(ranks, start, {.kind = RuleKind::kAdagrad, .l2 = state.range(1) != 0 ? 1e-5 : 0});
  std::vector<std::vector<Contribution>> contributions;
  for (unsigned rank = 0; rank < ranks; ++rank) contributions.push_back(contributions_of(rank, width));
  Round next = 0;
  for (auto _ : state) {
    run_threads(ranks, [&](unsigned rank) {
      auto& view = exchange.rank(rank);
      for (Round round = next; round < next + kRounds; ++round) {
        const auto& contribution = contributions[rank][round % kLists];
        benchmark::DoNotOptimize(view.read(round, contribution.tables[0].keys).tables[0].data());
        view.write(round, contribution);
      }
    });
    next += kRounds;
  }
  const auto keys = contributions[0][0].tables[0].keys.size();
  const auto rounds = static_cast<double>(next);
  state.SetItemsProcessed(static_cast<std::int64_t>(next * keys));
  state.counters["round"] = benchmark::Counter(rounds, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(BM_Round)
    ->ArgNames({"ranks", "l2", "width"})
    ->ArgsProduct({{1, 2}, {0, 1}, {1}})
    ->Args({2, 1, 10})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

/// Meetings alone.
void BM_Barrier(benchmark::State& state) {
  const auto threads = static_cast<unsigned>(state.range(0));
  constexpr std::int64_t kMeetings = 10'000;
  ThreadBarrier barrier(threads);
  for (auto _ : state) {
    run_threads(threads, [&](unsigned) {
      for (std::int64_t i = 0; i < kMeetings; ++i) barrier.arrive_and_wait();
    });
  }
  state.SetItemsProcessed(state.iterations() * kMeetings);
}
BENCHMARK(BM_Barrier)->ArgName("threads")->Arg(2)->Arg(4)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace virga
