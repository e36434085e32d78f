// Logistic regression on click data on one core, through the code that a rank runs, beside a limit written by hand.
// VIRGA_BENCH_SET is an imported set of `virga generate ctr`; bench/ctr_kernel.py makes one and runs this. Items are
// rows, times are of the clock on the wall: waiting for the disk counts.
#include <array>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <immintrin.h>

#include "virga/base/error.h"
#include "virga/base/memory.h"
#include "virga/batch/mini_batch.h"
#include "virga/data/group_cache.h"
#include "virga/data/loader.h"
#include "virga/data/schedule.h"
#include "virga/driver/data_set.h"
#include "virga/exchange/memory_exchange.h"
#include "virga/training/algorithm.h"
#include "virga/training/plan.h"

namespace virga {
namespace {

constexpr std::uint64_t kBatch = 1000;
constexpr double kRate = 0.5;

const DataSet& data_set() {
  static const DataSet set = [] {
    const char* uri = std::getenv("VIRGA_BENCH_SET");  // NOLINT(concurrency-mt-unsafe): nobody sets it
    const std::string name = uri == nullptr ? "" : uri;
    check(!name.empty(), "VIRGA_BENCH_SET names an imported set of click data");
    return open_data_set(name);
  }();
  return set;
}

/// All training rows, decoded.
const std::vector<RowGroupPtr>& groups_in_memory() {
  static const std::vector<RowGroupPtr> groups = [] {
    const auto& set = data_set();
    GroupCache cache(*set.store, set.manifest, std::uint64_t{4} << 30);
    std::vector<RowGroupPtr> all(set.manifest.train.rows / set.manifest.rows_per_group);
    for_each_group(cache, SplitName::kTrain, 1, [&](std::size_t index, const RowGroupPtr& group) {
      if (index < all.size()) all[index] = group;  // all but the last one have the same size
    });
    return all;
  }();
  return groups;
}

/// One rank alone, which trains.
class Rank {
 public:
  explicit Rank(RuleKind kind)
      : spec_(spec()),
        exchange_(1, initial_parameters(spec_, 0),
                  {.kind = kind, .learning_rate = kRate, .l2 = kind == RuleKind::kSgd ? 0 : 1e-5}),
        algorithm_(make_model(spec_, kernels(best_simd_level())), 1) {}

  void step(const MiniBatch& batch) {
    auto& exchange = exchange_.rank(0);
    const auto& parameters = exchange.read(round_, batch.keys);
    exchange.write(round_, algorithm_.local_step(parameters, batch));
    ++round_;
  }

 private:
  static ModelSpec spec() {
    ModelSpec spec;
    spec.kind = ModelKind::kLogistic;
    spec.features = data_set().manifest.encoding.features;
    spec.classes = 2;
    return spec;
  }
  const ModelSpec spec_;
  MemoryExchange exchange_;
  GradientAveraging algorithm_;
  Round round_ = 0;
};

/// Mini-batches of decoded rows in memory: `offset` 0 takes whole groups, whose dictionaries are the keys, so that
/// there is nothing to merge; else the end of one and the start of the next, whose keys are found and merged.
void BM_InMemory(benchmark::State& state, RuleKind kind, std::uint32_t offset) {
  const auto& groups = groups_in_memory();
  Rank rank(kind);
  BatchAssembler assembler(data_set().manifest.encoding.features);
  const auto rows = static_cast<std::uint32_t>(kBatch);
  for (auto _ : state) {
    for (std::size_t g = 0; g < groups.size(); ++g) {
      std::vector<RowRange> ranges = {{groups[g], offset, rows}};
      if (offset > 0) ranges.push_back({groups[(g + 1) % groups.size()], 0, offset});
      rank.step(assembler.assemble(ranges));
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(groups.size() * kBatch));
}
BENCHMARK_CAPTURE(BM_InMemory, sgd, RuleKind::kSgd, 0)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(BM_InMemory, sgd_across_groups, RuleKind::kSgd, 500)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(BM_InMemory, adagrad_l2, RuleKind::kAdagrad, 0)->Unit(benchmark::kMillisecond)->UseRealTime();

/// From the object store: read, checked, decoded, scaled, merged, on this thread.
void BM_FromStore(benchmark::State& state, RuleKind kind) {
  keep_freed_memory();  // as the program does
  const auto& set = data_set();
  const Schedule schedule(set.manifest.train, set.manifest.rows_per_group, 1, kBatch);
  Rank rank(kind);
  for (auto _ : state) {
    GroupCache cache(*set.store, set.manifest, std::uint64_t{32} << 20);
    BatchSource source(cache, schedule, {.prefetch = 0});
    for (std::uint64_t round = 0; round < schedule.rounds_per_epoch(); ++round) rank.step(source.batch(round));
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(schedule.rows()));
}
BENCHMARK_CAPTURE(BM_FromStore, sgd, RuleKind::kSgd)->Unit(benchmark::kMillisecond)->UseRealTime();

// --- The limit: the weights of 16 rows gathered, a rough sigmoid, the weights scattered back; AVX-512 by hand, no
// keys, no optimiser, nothing checked, nothing measured.

struct FlatRows {
  std::vector<std::uint32_t> features;     ///< [entries]
  std::vector<std::uint32_t> begin = {0};  ///< [rows + 1]
  std::vector<float> labels;
};

FlatRows flat_rows() {
  FlatRows flat;
  for (const auto& group : groups_in_memory()) {
    for (std::uint32_t row = 0; row < group->rows; ++row) {
      for (auto e = group->row_begin[row]; e < group->row_begin[row + 1]; ++e) {
        flat.features.push_back(group->keys[group->index(e)]);
      }
      flat.begin.push_back(static_cast<std::uint32_t>(flat.features.size()));
    }
    flat.labels.insert(flat.labels.end(), group->labels.begin(), group->labels.end());
  }
  return flat;
}

#define VIRGA_AVX512 [[gnu::target("avx512f,avx512dq,avx512vl,avx512bw")]]

/// 1 / (1 + e^-x), to about 1e-4.
VIRGA_AVX512 __m512 sigmoid(__m512 x) {
  x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-30)), _mm512_set1_ps(30));
  const auto y = _mm512_mul_ps(x, _mm512_set1_ps(-1.442695F));
  const auto whole = _mm512_roundscale_ps(y, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const auto part = _mm512_sub_ps(y, whole);
  auto power = _mm512_fmadd_ps(part, _mm512_set1_ps(0.0555F), _mm512_set1_ps(0.2402F));
  power = _mm512_fmadd_ps(part, power, _mm512_set1_ps(0.6931F));
  power = _mm512_fmadd_ps(part, power, _mm512_set1_ps(1));
  return _mm512_div_ps(_mm512_set1_ps(1), _mm512_add_ps(_mm512_set1_ps(1), _mm512_scalef_ps(power, whole)));
}

VIRGA_AVX512 void limit_pass(const FlatRows& flat, float* weights) {
  constexpr std::size_t kRows = 16;
  const auto mask_of = [](std::uint32_t left) {
    return static_cast<__mmask16>(left >= 16 ? 0xFFFF : (1U << left) - 1);
  };
  alignas(64) std::array<float, kRows> scores;
  for (std::size_t first = 0; first + kRows <= flat.labels.size(); first += kRows) {
    for (std::size_t r = 0; r < kRows; ++r) {
      const auto* features = flat.features.data() + flat.begin[first + r];
      const auto count = flat.begin[first + r + 1] - flat.begin[first + r];
      __m512 sum = _mm512_setzero_ps();
      for (std::uint32_t i = 0; i < count; i += 16) {
        const auto mask = mask_of(count - i);
        const auto at = _mm512_maskz_loadu_epi32(mask, features + i);
        sum = _mm512_add_ps(sum, _mm512_mask_i32gather_ps(_mm512_setzero_ps(), mask, at, weights, 4));
      }
      scores[r] = _mm512_reduce_add_ps(sum);
    }
    const auto residuals =
        _mm512_sub_ps(sigmoid(_mm512_load_ps(scores.data())), _mm512_loadu_ps(flat.labels.data() + first));
    _mm512_store_ps(scores.data(), _mm512_mul_ps(residuals, _mm512_set1_ps(-0.01F)));
    for (std::size_t r = 0; r < kRows; ++r) {
      const auto* features = flat.features.data() + flat.begin[first + r];
      const auto count = flat.begin[first + r + 1] - flat.begin[first + r];
      for (std::uint32_t i = 0; i < count; ++i) weights[features[i]] += scores[r];  // faster than scatters
    }
  }
}

void BM_HandWrittenLimit(benchmark::State& state) {
  if (!has_simd_level(SimdLevel::kAvx512)) return state.SkipWithError("this machine has no AVX-512");
  const auto flat = flat_rows();
  std::vector<float> weights(data_set().manifest.encoding.features + 1);
  for (auto _ : state) {
    limit_pass(flat, weights.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(flat.labels.size()));
}
BENCHMARK(BM_HandWrittenLimit)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace virga
