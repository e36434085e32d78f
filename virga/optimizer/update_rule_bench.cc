#include <algorithm>
#include <cmath>
#include <vector>

#include <benchmark/benchmark.h>

#include "virga/base/random.h"
#include "virga/optimizer/update_rule.h"

namespace virga {
namespace {

constexpr std::uint32_t kRows = 1U << 20;
constexpr std::size_t kLists = 16;  // different mini-batches, used in turn

/// The keys of mini-batches of 1,000 rows of hashed features that follow a power law: some 12,000 each, ascending.
std::vector<std::vector<std::uint32_t>> key_lists() {
  const Random random(1, Purpose::kTest);
  std::vector<std::vector<std::uint32_t>> lists(kLists);
  for (std::uint32_t list = 0; list < kLists; ++list) {
    for (std::uint64_t i = 0; i < 26000; ++i) {
      const double rank = std::pow(1e6, random.uniform(list, i));  // log-uniform: Zipf's law with exponent 1
      lists[list].push_back(static_cast<std::uint32_t>(rank) * 2654435761U % kRows);
    }
    std::ranges::sort(lists[list]);
    lists[list].erase(std::unique(lists[list].begin(), lists[list].end()), lists[list].end());
  }
  return lists;
}

struct Rounds {
  Rounds(RuleKind kind, double l1, double l2, std::uint32_t width)
      : rule(Tables({{"weights", kRows, width, true, true}}),
             {.kind = kind, .learning_rate = 0.1, .l1 = l1, .l2 = l2}) {
    std::size_t longest = 0;
    for (const auto& list : keys) longest = std::max(longest, list.size());
    const Random random(2, Purpose::kTest);
    for (std::uint64_t i = 0; i < longest * width; ++i) {
      gradient.push_back(static_cast<float>(random.uniform(0, i) - 0.5) * 1e-2F);
    }
  }
  void report(benchmark::State& state, std::size_t done) const {
    state.SetItemsProcessed(static_cast<std::int64_t>(done));
    state.counters["keys"] = static_cast<double>(keys[0].size());
  }
  std::vector<std::vector<std::uint32_t>> keys = key_lists();
  UpdateRule rule;
  std::vector<float> gradient;
  std::uint64_t step = 0;
};

/// One step of the touched rows: the mean gradient is there, in cache. Items are keys.
void BM_Apply(benchmark::State& state) {
  const auto width = static_cast<std::uint32_t>(state.range(2));
  Rounds r(static_cast<RuleKind>(state.range(0)), 0, state.range(1) != 0 ? 1e-5 : 0, width);
  std::size_t done = 0;
  for (auto _ : state) {
    const auto& keys = r.keys[r.step % kLists];
    r.rule.apply(r.step, 0, keys, std::span(r.gradient).first(keys.size() * width));
    ++r.step;
    done += keys.size();
  }
  r.report(state, done);
}
BENCHMARK(BM_Apply)->ArgNames({"rule", "l2", "width"})->ArgsProduct({{0, 1, 2, 3, 4}, {0, 1}, {1}})->Args({3, 1, 10});

/// Reading rows to a compact buffer, caught up; each step has been applied before the next is read. Only the reading is
/// timed.
void BM_Read(benchmark::State& state) {
  Rounds r(static_cast<RuleKind>(state.range(0)), 0, state.range(1) != 0 ? 1e-5 : 0, 1);
  for (; r.step < 4 * kLists; ++r.step) {
    const auto& keys = r.keys[r.step % kLists];
    r.rule.apply(r.step, 0, keys, std::span(r.gradient).first(keys.size()));
  }
  std::vector<float> out(r.gradient.size());
  std::size_t done = 0;
  for (auto _ : state) {
    const auto& keys = r.keys[++done % kLists];
    r.rule.read(r.step, 0, keys, std::span(out).first(keys.size()));
    benchmark::ClobberMemory();
  }
  r.report(state, done * r.keys[0].size());
}
BENCHMARK(BM_Read)->ArgNames({"rule", "l2"})->ArgsProduct({{0, 1, 3}, {0, 1}});

/// All 2^20 rows, each some steps behind.
void BM_CatchUp(benchmark::State& state) {
  Rounds r(static_cast<RuleKind>(state.range(0)), 0, 1e-5, 1);
  for (auto _ : state) r.rule.catch_up(r.step += 100);
  state.SetItemsProcessed(state.iterations() * kRows);
}
BENCHMARK(BM_CatchUp)->ArgNames({"rule"})->Arg(0)->Arg(1)->Arg(3)->Arg(4);

/// The limit: loads and stores of the same rows of `arrays` arrays, one addition each.
void BM_TouchRows(benchmark::State& state) {
  const auto keys = key_lists();
  std::vector<std::vector<float>> arrays(static_cast<std::size_t>(state.range(0)), std::vector<float>(kRows));
  std::size_t done = 0, list = 0;
  for (auto _ : state) {
    const auto& rows = keys[++list % kLists];
    for (auto& values : arrays) {
      for (const auto row : rows) values[row] += 1.0F;
    }
    benchmark::ClobberMemory();
    done += rows.size();
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(done));
}
BENCHMARK(BM_TouchRows)->ArgNames({"arrays"})->Arg(1)->Arg(2)->Arg(3);

/// AdaGrad as one would write it first: key by key, in double precision.
void BM_NaiveAdagrad(benchmark::State& state) {
  Rounds r(RuleKind::kAdagrad, 0, 0, 1);
  std::vector<float> accumulator(kRows), w(kRows);
  std::size_t done = 0;
  for (auto _ : state) {
    const auto& keys = r.keys[++r.step % kLists];
    for (std::size_t k = 0; k < keys.size(); ++k) {
      const double g = r.gradient[k];
      const double sum = accumulator[keys[k]] + g * g;
      accumulator[keys[k]] = static_cast<float>(sum);
      w[keys[k]] = static_cast<float>(w[keys[k]] - 0.1 * g / std::sqrt(sum + 1e-8));
    }
    done += keys.size();
  }
  r.report(state, done);
}
BENCHMARK(BM_NaiveAdagrad);

}  // namespace
}  // namespace virga
