// All-reduce among processes through a channel that the variable VIRGA_BENCH_CHANNEL names (see open_channel()), with
// the token in VIRGA_CHANNEL_TOKEN. Says milliseconds a round.
#include <chrono>
#include <cstdlib>
#include <string>
#include <vector>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <benchmark/benchmark.h>

#include "virga/base/error.h"
#include "virga/base/memory.h"
#include "virga/channel/open_channel.h"
#include "virga/collective/all_reduce.h"
#include "virga/collective/pattern_choice.h"

namespace virga {
namespace {

using Clock = std::chrono::steady_clock;

std::string variable_or_empty(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): there is one thread
  return value == nullptr ? "" : value;
}

/// Seconds of all rounds but the first ones, in memory that processes share.
double& shared_seconds() {
  static auto* const seconds =
      static_cast<double*>(::mmap(nullptr, sizeof(double), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  return *seconds;
}

void member(std::uint32_t rank, std::uint32_t members, std::uint32_t elements, Pattern pattern, std::uint64_t rounds,
            const std::string& job) {
  keep_freed_memory();
  const Layout layout = {{.name = "weights", .rows = elements, .width = 1, .regularised = true, .sparse = false}};
  Contribution contribution;
  contribution.weight = 1;
  contribution.tables.push_back({.whole = true, .keys = {}, .values = std::vector<float>(elements, 1.5F)});
  const auto channel =
      open_channel(variable_or_empty("VIRGA_BENCH_CHANNEL"), job, variable_or_empty("VIRGA_CHANNEL_TOKEN"));
  const auto bytes = std::uint64_t{elements} * sizeof(float);
  const AllReduce::Options options{
      .pattern = pattern,
      .pieces = usual_pieces({.members = members, .contribution_bytes = static_cast<double>(bytes)})};
  AllReduce all_reduce(*channel, {.view = 1, .rank = rank, .size = members}, layout,
                       cut_tables(layout, AllReduce::ranges(members, options)), options);
  const Wait wait{Deadline::in(std::chrono::minutes(2))};
  constexpr std::uint64_t kWarmUp = 10;
  Clock::time_point begun;
  for (std::uint64_t round = 0; round < kWarmUp + rounds; ++round) {
    if (round == kWarmUp) begun = Clock::now();
    benchmark::DoNotOptimize(all_reduce(round, contribution, 0, wait).data());
  }
  if (rank == 0) shared_seconds() = std::chrono::duration<double>(Clock::now() - begun).count();
}

void BM_AllReduce(benchmark::State& state) {
  if (variable_or_empty("VIRGA_BENCH_CHANNEL").empty()) return state.SkipWithError("VIRGA_BENCH_CHANNEL is not set");
  const auto members = static_cast<std::uint32_t>(state.range(0));
  const auto elements = static_cast<std::uint32_t>(state.range(1) / 4);
  const auto pattern = static_cast<Pattern>(state.range(2));
  const std::uint64_t rounds = elements > (1U << 20) ? 8 : 300;
  static int run = 0;
  for (auto _ : state) {
    const auto job = "bench-" + std::to_string(::getpid()) + "-" + std::to_string(++run);
    std::vector<pid_t> processes;
    for (std::uint32_t rank = 0; rank < members; ++rank) {
      const auto pid = ::fork();
      check(pid >= 0, "no process");
      processes.push_back(pid);
      if (pid > 0) continue;
      try {
        member(rank, members, elements, pattern, rounds, job);
      } catch (const std::exception& error) {
        ::fprintf(stderr, "%s\n", error.what());
        ::_exit(1);
      }
      ::_exit(0);
    }
    for (const auto pid : processes) {
      int status = 0;
      ::waitpid(pid, &status, 0);
      check(status == 0, "a member failed");
    }
    open_channel(variable_or_empty("VIRGA_BENCH_CHANNEL"), job, variable_or_empty("VIRGA_CHANNEL_TOKEN"))
        ->sweep(kEverybody, {Deadline::in(std::chrono::minutes(1))});
    state.SetIterationTime(shared_seconds() / static_cast<double>(rounds));
  }
}

BENCHMARK(BM_AllReduce)
    ->ArgNames({"members", "bytes", "pattern"})
    ->ArgsProduct({{2}, {4 << 10}, {0, 1, 2}})
    ->Args({4, 50 << 20, 1})
    ->Args({4, 50 << 20, 4})
    ->UseManualTime()
    ->Iterations(5)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace virga
