// All-reduce by each pattern through a channel in memory that is as slow as a service (EmulatedChannel): members are
// threads, each with lines of its own, so that what is seen is latency and bandwidth, not this machine. Beside it what
// choose_pattern() expects after probe_channel(), and which pattern it would take.
#include <chrono>
#include <deque>
#include <map>
#include <tuple>
#include <vector>

#include <benchmark/benchmark.h>

#include "virga/base/threads.h"
#include "virga/channel/emulated_channel.h"
#include "virga/channel/memory_channel.h"
#include "virga/collective/channel_probe.h"

namespace virga {
namespace {

using namespace std::chrono_literals;

/// Services of LambdaML's, and one that is between the slow and the fast ones.
constexpr const char* kServices[] = {"aws-2021:s3", "aws-2021:cache.t3.medium", "aws-2021:t2.medium",
                                     "aws-2021:c5.large"};

class Members {
 public:
  Members(const char* service, std::uint32_t count) {
    for (std::uint32_t m = 0; m < count; ++m) {
      channels_.push_back(&slow_.emplace_back(memory_, find_service_profile(service), count - 1));
    }
  }
  [[nodiscard]] std::span<Channel* const> channels() const { return channels_; }

 private:
  MemoryChannel memory_;
  std::deque<EmulatedChannel> slow_;
  std::vector<Channel*> channels_;
};

const ChannelFigures& figures_of(std::int64_t service) {
  static std::map<std::int64_t, ChannelFigures> known;
  const auto [at, is_new] = known.try_emplace(service);
  if (is_new) {
    const Members members(kServices[service], 4);
    at->second = probe_channel(members.channels(), {Deadline::in(2s)}).figures;
  }
  return at->second;
}

void BM_Pattern(benchmark::State& state) {
  const auto count = static_cast<std::uint32_t>(state.range(1));
  const auto elements = static_cast<std::uint32_t>(state.range(2) / static_cast<std::int64_t>(sizeof(float)));
  const auto pattern = kPatterns[state.range(3)];
  const RoundSize size{count, static_cast<double>(state.range(2)), static_cast<double>(state.range(2))};
  const auto choice = choose_pattern(kPatterns, figures_of(state.range(0)), size);
  std::uint32_t pieces = usual_pieces(size);
  double expected = 0;
  for (const auto& forecast : choice.forecasts) {
    if (forecast.pattern == pattern) std::tie(pieces, expected) = std::pair(forecast.pieces, forecast.seconds);
  }

  const Layout layout = {{.name = "weights", .rows = elements, .width = 1, .regularised = true, .sparse = false}};
  Contribution contribution;
  contribution.weight = 1;
  contribution.tables.push_back({.whole = true, .keys = {}, .values = std::vector<float>(elements, 1.5F)});
  const AllReduce::Options options{.pattern = pattern, .pieces = pieces};
  const Members members(kServices[state.range(0)], count);
  std::deque<AllReduce> all;
  for (std::uint32_t m = 0; m < count; ++m) {
    all.emplace_back(*members.channels()[m], Group{.view = 1, .rank = m, .size = count}, layout,
                     cut_tables(layout, AllReduce::ranges(count, options)), options);
  }
  std::uint64_t round = 0;
  for (auto _ : state) {
    run_threads(count, [&](unsigned m) {
      benchmark::DoNotOptimize(all[m](round, contribution, 0, {Deadline::in(2min)}).data());
    });
    ++round;
  }
  // The forecast is for stores, not for what goes straight from member to member.
  if (!find_service_profile(kServices[state.range(0)]).straight) {
    state.counters["expected_ms"] = 1e3 * expected;
    state.counters["chosen"] = choice.pattern == pattern ? 1 : 0;
  }
  state.SetLabel(std::string(kServices[state.range(0)]) + " " + std::string(to_string(pattern)) +
                 (pattern == Pattern::kPipelined ? ", pieces: " + std::to_string(pieces) : ""));
}

BENCHMARK(BM_Pattern)
    ->ArgNames({"service", "members", "bytes", "pattern"})
    ->ArgsProduct({{0, 1, 2}, {2, 4, 8}, {4 << 10, 1 << 20, 16 << 20}, {0, 1, 2, 3, 4}})
    ->Iterations(3)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
// Ten workers, small and big models, as in docs/experiments/lambdaml.md.
BENCHMARK(BM_Pattern)
    ->ArgNames({"service", "members", "bytes", "pattern"})
    ->ArgsProduct({{0, 3}, {10}, {1 << 10, 50'000'000}, {0, 1}})
    ->Iterations(3)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace virga
