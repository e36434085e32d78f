#include <benchmark/benchmark.h>

#include "virga/data/block.h"
#include "virga/data/groups_testing.h"

namespace virga {
namespace {

/// The shapes that matter: click logs (1,000 rows of 39 binary features out of 2^20), text (real values), images
/// (784 bytes a row).
GroupShape shape_of(std::int64_t number) {
  if (number == 1) return {.row_length = 80, .same_length = false, .values = GroupShape::Values::kFloats};
  if (number == 2) return {.features = 784, .values = GroupShape::Values::kBytes, .dense = true};
  return {};
}

void report(benchmark::State& state, const GroupShape& shape, std::size_t bytes) {
  state.SetItemsProcessed(state.iterations() * shape.rows);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes));
  state.counters["bytes_per_row"] = static_cast<double>(bytes) / shape.rows;
}

/// Encoding one group again and again, in the cache of the processor.
void BM_EncodeGroup(benchmark::State& state) {
  const auto shape = shape_of(state.range(0));
  const auto group = test_group(shape, 1);
  std::size_t bytes = 0;
  for (auto _ : state) bytes = encode_group(group, static_cast<Compression>(state.range(1))).size();
  report(state, shape, bytes);
}
BENCHMARK(BM_EncodeGroup)->ArgNames({"shape", "zstd"})->ArgsProduct({{0, 1, 2}, {0, 1}});

/// Encoded groups of 64 MiB, one after the other, so that they come from memory, not from the cache.
std::vector<Bytes> many_groups(const GroupShape& shape, Compression compression) {
  std::vector<Bytes> groups;
  std::size_t bytes = 0;
  for (std::uint64_t seed = 0; bytes < (std::size_t{64} << 20); ++seed) {
    groups.push_back(seed < 16 ? encode_group(test_group(shape, seed), compression) : groups[seed % 16]);
    bytes += groups.back().size();
  }
  return groups;
}

/// Decoding with all its checks; the decoded group is thrown away.
void BM_DecodeGroup(benchmark::State& state) {
  const auto shape = shape_of(state.range(0));
  const auto groups = many_groups(shape, static_cast<Compression>(state.range(1)));
  std::size_t next = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(decode_group(groups[next], "bench"));
    next = (next + 1) % groups.size();
  }
  report(state, shape, groups[0].size());
}
BENCHMARK(BM_DecodeGroup)->ArgNames({"shape", "zstd"})->ArgsProduct({{0, 1, 2}, {0, 1}});

/// The limit: copying the same bytes to fresh memory.
void BM_CopyGroup(benchmark::State& state) {
  const auto shape = shape_of(state.range(0));
  const auto groups = many_groups(shape, Compression::kNone);
  std::size_t next = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(Bytes(groups[next]));
    next = (next + 1) % groups.size();
  }
  report(state, shape, groups[0].size());
}
BENCHMARK(BM_CopyGroup)->ArgName("shape")->DenseRange(0, 2);

}  // namespace
}  // namespace virga
