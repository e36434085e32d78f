// Objects to and from the place at S3 that VIRGA_BENCH_S3 names, one after the other on one connection: what a worker
// waits for. bench/s3_speed.py starts a service and puts curl beside it.
#include <cstdlib>
#include <string>

#include <benchmark/benchmark.h>

#include "virga/storage/object_store.h"

namespace virga {
namespace {

std::unique_ptr<ObjectStore> store(benchmark::State& state) {
  const char* uri = std::getenv("VIRGA_BENCH_S3");  // NOLINT(concurrency-mt-unsafe): nobody writes to it
  if (uri != nullptr) return open_object_store(uri);
  state.SkipWithError("VIRGA_BENCH_S3 is not set");
  return nullptr;
}

void BM_S3Put(benchmark::State& state) {
  const auto place = store(state);
  const Bytes bytes(static_cast<std::size_t>(state.range(0)), std::byte{'x'});
  if (place) place->put("bench", bytes);  // connects
  for (auto _ : state) place->put("bench", bytes);
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void BM_S3Get(benchmark::State& state) {
  const auto place = store(state);
  if (place) place->put("bench", Bytes(static_cast<std::size_t>(state.range(0)), std::byte{'x'}));
  for (auto _ : state) benchmark::DoNotOptimize(place->get("bench"));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

BENCHMARK(BM_S3Put)->Arg(1 << 10)->Arg(8'000'000)->UseRealTime();
BENCHMARK(BM_S3Get)->Arg(1 << 10)->Arg(8'000'000)->UseRealTime();

}  // namespace
}  // namespace virga
