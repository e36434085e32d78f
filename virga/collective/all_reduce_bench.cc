#include <algorithm>
#include <barrier>
#include <chrono>
#include <memory>
#include <vector>

#include <benchmark/benchmark.h>

#include "virga/base/random.h"
#include "virga/base/threads.h"
#include "virga/channel/memory_channel.h"
#include "virga/collective/all_reduce.h"
#include "virga/collective/table_sum.h"

namespace virga {
namespace {

constexpr std::uint32_t kRows = 1U << 20;
constexpr std::uint32_t kKeys = 12'600;

/// [member], all of them alike in size.
using Contributions = std::vector<Contribution>;

struct Task {
  Layout layout;
  Contributions contributions;
  std::uint64_t rounds = 0;         // between the starts of threads, which are not left out
  std::int64_t bytes_of_round = 0;  // of one member's values and keys
};

/// A whole table of `elements` floats.
Task dense_task(std::uint32_t members, std::uint32_t elements) {
  Task task{.layout = {{.name = "weights", .rows = elements, .width = 1, .regularised = true, .sparse = false}},
            .contributions = Contributions(members),
            .rounds = std::clamp<std::uint64_t>((1U << 22) / elements, 5, 500),
            .bytes_of_round = std::int64_t{elements} * std::int64_t{sizeof(float)}};
  for (std::uint32_t m = 0; m < members; ++m) {
    std::vector<float> values(elements);
    for (std::uint32_t i = 0; i < elements; ++i) values[i] = static_cast<float>((i + m) % 1009) - 504;
    task.contributions[m].tables.push_back({.whole = true, .keys = {}, .values = std::move(values)});
    task.contributions[m].weight = 500;
  }
  return task;
}

/// What a mini-batch of 1,000 rows of hashed click data touches: kKeys keys, half of them those of every member.
Task sparse_task(std::uint32_t members) {
  const Random random(1, Purpose::kTest);
  Task task{.layout = {{.name = "weights", .rows = kRows, .width = 1, .regularised = true, .sparse = true},
                       {.name = "bias", .rows = 1, .width = 1, .regularised = false, .sparse = false}},
            .contributions = Contributions(members),
            .rounds = 200,
            .bytes_of_round = std::int64_t{kKeys} * std::int64_t{sizeof(float) + sizeof(std::uint32_t)}};
  for (std::uint32_t m = 0; m < members; ++m) {
    auto& tables = task.contributions[m].tables;
    tables.resize(2);
    auto& keys = tables[0].keys;
    for (std::uint32_t i = 0; i < kKeys + kKeys / 50; ++i) {
      keys.push_back(static_cast<std::uint32_t>(random.below(kRows, 0, i, i % 2 == 0 ? 0 : 1 + m)));
    }
    std::ranges::sort(keys);
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    keys.resize(kKeys);
    for (std::uint32_t i = 0; i < kKeys; ++i) {
      tables[0].values.push_back(static_cast<float>(random.uniform(m, i) - 0.5));
    }
    tables[1] = {.whole = true, .keys = {}, .values = {0.1F}};
    task.contributions[m].weight = 500;
  }
  return task;
}

void report(benchmark::State& state, const Task& task, std::uint64_t rounds) {
  state.SetBytesProcessed(static_cast<std::int64_t>(rounds) * task.bytes_of_round);
  state.counters["round"] =
      benchmark::Counter(static_cast<double>(rounds), benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

/// Rounds among threads, over a channel in memory: what AllReduce costs without a network, encoding, copies into the
/// channel, checksums, sums and meetings. Bytes are those of one member's contribution.
void all_reduce_rounds(benchmark::State& state, const Task& task, Pattern pattern) {
  const auto members = static_cast<std::uint32_t>(task.contributions.size());
  MemoryChannel channel;
  std::vector<std::unique_ptr<AllReduce>> all_reduces;
  for (std::uint32_t m = 0; m < members; ++m) {
    all_reduces.push_back(std::make_unique<AllReduce>(channel, Group{.view = 1, .rank = m, .size = members},
                                                      task.layout, cut_tables(task.layout, members),
                                                      AllReduce::Options{.pattern = pattern}));
  }
  std::uint64_t next = 0;
  for (auto _ : state) {
    run_threads(members, [&](unsigned m) {
      const Wait wait{Deadline::in(std::chrono::minutes(2))};
      for (auto round = next; round < next + task.rounds; ++round) {
        benchmark::DoNotOptimize((*all_reduces[m])(round, task.contributions[m], 0, wait).data());
      }
    });
    next += task.rounds;
  }
  report(state, task, next);
}

/// The limit: the same sums by the same cuts, but each member reads the contributions of the others where they lie, and
/// all see each other's sums.
void shared_memory_rounds(benchmark::State& state, const Task& task) {
  const auto members = static_cast<std::uint32_t>(task.contributions.size());
  const auto cuts = cut_tables(task.layout, members);
  std::barrier meeting(members);
  std::vector<std::vector<TableSum>> table_sums(members, std::vector<TableSum>(task.layout.size()));
  std::uint64_t rounds = 0;
  for (auto _ : state) {
    run_threads(members, [&](unsigned m) {
      for (std::uint64_t round = 0; round < task.rounds; ++round) {
        meeting.arrive_and_wait();
        for (std::size_t t = 0; t < task.layout.size(); ++t) {
          std::vector<SparsePart> parts;
          for (const auto& c : task.contributions) parts.push_back(part_of(c, task.layout, cuts, m, 0).tables[t].rows);
          if (task.layout[t].sparse) {
            benchmark::DoNotOptimize(table_sums[m][t].sparse(parts, task.layout[t].width).values.data());
            continue;
          }
          std::vector<std::span<const float>> values;
          values.reserve(parts.size());
          for (const auto& part : parts) values.push_back(part.values);
          benchmark::DoNotOptimize(table_sums[m][t].whole(values).data());
        }
        meeting.arrive_and_wait();
      }
    });
    rounds += task.rounds;
  }
  report(state, task, rounds);
}

Pattern pattern_of(std::int64_t arg) { return kPatterns[arg]; }

void BM_AllReduceDense(benchmark::State& state) {
  all_reduce_rounds(state,
                    dense_task(static_cast<std::uint32_t>(state.range(0)), static_cast<std::uint32_t>(state.range(1))),
                    pattern_of(state.range(2)));
}
void BM_AllReduceSparse(benchmark::State& state) {
  all_reduce_rounds(state, sparse_task(static_cast<std::uint32_t>(state.range(0))), pattern_of(state.range(1)));
}
void BM_SharedMemoryDense(benchmark::State& state) {
  shared_memory_rounds(
      state, dense_task(static_cast<std::uint32_t>(state.range(0)), static_cast<std::uint32_t>(state.range(1))));
}
void BM_SharedMemorySparse(benchmark::State& state) {
  shared_memory_rounds(state, sparse_task(static_cast<std::uint32_t>(state.range(0))));
}

constexpr std::int64_t kSmall = (4 << 10) / sizeof(float);   // 4 KB
constexpr std::int64_t kLarge = (50 << 20) / sizeof(float);  // 50 MiB

BENCHMARK(BM_AllReduceDense)
    ->ArgNames({"members", "elements", "scatter"})
    ->ArgsProduct({{2, 4}, {kSmall, kLarge}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(BM_AllReduceSparse)
    ->ArgNames({"members", "scatter"})
    ->ArgsProduct({{2}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(BM_SharedMemoryDense)
    ->ArgNames({"members", "elements"})
    ->ArgsProduct({{2, 4}, {kSmall, kLarge}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(BM_SharedMemorySparse)->ArgName("members")->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace virga
