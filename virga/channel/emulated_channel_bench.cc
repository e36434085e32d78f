// Holds EmulatedChannel to the figures of the services that it plays: the latency of a request, the bandwidth of each
// direction, alone and with the other one busy, and when whoever waits learns of a message. The store is in memory;
// what it takes itself comes on top, by design, and is measured and subtracted. What is off by more than 5 %, and by
// more than the tenth of a millisecond that a thread may be late, is an error.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <thread>
#include <vector>

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "virga/base/threads.h"
#include "virga/channel/emulated_channel.h"
#include "virga/channel/memory_channel.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

Wait soon() { return {Deadline::in(60s)}; }

void put(Channel& channel, std::uint64_t round, std::uint32_t source, ByteView bytes) {
  channel.put(std::vector<Outgoing>{{{.source = source, .round = round}, {&bytes, 1}}}, soon());
}
void get(Channel& channel, std::uint64_t round, std::uint32_t source) {
  channel.get(
      std::vector<MessageKey>{{.source = source, .round = round}}, [](const auto&, const auto&) {}, soon());
}

enum Task : std::int64_t { kPut, kGet, kBothWays, kWait };
constexpr const char* kTasks[] = {"put", "get", "both ways at once", "wait for what comes 2.5 latencies later"};

/// Does it once; `memory` is what `channel` is a slow view of.
void perform(Task task, Channel& memory, Channel& channel, const ServiceProfile& profile, std::uint64_t round,
             ByteView bytes) {
  if (task == kPut) put(channel, round, 0, bytes);
  if (task == kGet) get(channel, round, 1);
  if (task == kBothWays) {
    run_threads(2, [&](unsigned me) { me == 0 ? put(channel, round, 0, bytes) : get(channel, round, 1); });
  }
  if (task != kWait) return;
  const std::jthread sender([&, at = Clock::now() + profile.latency * 5 / 2] {
    std::this_thread::sleep_until(at - 200us);
    while (Clock::now() < at) {  // a sleep may end late
    }
    put(memory, round, 2, bytes);
  });
  get(channel, round, 2);
}

double expected_seconds(Task task, const ServiceProfile& profile, std::size_t bytes) {
  const auto latency = Seconds(profile.latency).count();
  const auto transfer = static_cast<double>(bytes) / profile.bytes_per_second;
  if (profile.straight && task == kWait) return 2.5 * latency;
  return transfer + (task != kWait ? 1.0 : profile.polled ? 4.0 : 3.5) * latency;
}

void BM_Service(benchmark::State& state) {
  const auto& profile = service_profiles()[static_cast<std::size_t>(state.range(0))];
  const auto task = static_cast<Task>(state.range(1));
  const Bytes bytes(1 + static_cast<std::size_t>(profile.bytes_per_second * static_cast<double>(state.range(2)) / 1e3));
  MemoryChannel memory;
  EmulatedChannel channel(memory, profile);
  constexpr ServiceProfile kNoService{"", "", std::chrono::nanoseconds(1), 1e18, false};
  std::vector<double> seconds;
  std::uint64_t round = 0;
  for (auto _ : state) {
    const auto timed = [&](Channel& through, const ServiceProfile& service) {
      put(memory, ++round, 1, bytes);
      const auto begun = Clock::now();
      perform(task, memory, through, service, round, bytes);
      return Seconds(Clock::now() - begun).count();
    };
    const auto own = timed(memory, kNoService);
    // What came last has passed the line for as long before.
    std::this_thread::sleep_for(Seconds(static_cast<double>(bytes.size()) / profile.bytes_per_second));
    seconds.push_back(timed(channel, profile) - own);
    state.SetIterationTime(seconds.back());
    memory.sweep(1, soon());
  }
  const auto middle = seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2);
  std::nth_element(seconds.begin(), middle, seconds.end());
  const auto expected = expected_seconds(task, profile, bytes.size());
  state.counters["expected_ms"] = 1e3 * expected;
  state.counters["off_percent"] = 100 * (*middle / expected - 1);
  state.SetLabel(std::string(profile.name) + ": " + kTasks[task]);
  const auto off = std::abs(*middle - expected);
  if (off > 0.05 * expected && off > 1e-4)
    state.SkipWithError(fmt::format("it is not what the service would take, but {:.3f} ms", 1e3 * *middle).c_str());
}

/// With one byte, and with as many as take 50 ms. Of a network only its sender's part: what has come is there.
void every_service(benchmark::internal::Benchmark* bench) {
  const auto profiles = service_profiles();
  for (std::size_t service = 0; service < profiles.size(); ++service) {
    for (const auto task : {kPut, kGet, kBothWays, kWait}) {
      for (const std::int64_t ms : {0, 50}) {
        const bool receives_only = task == kGet || (task == kWait && ms > 0);
        if (!profiles[service].straight || !receives_only) bench->Args({static_cast<std::int64_t>(service), task, ms});
      }
    }
  }
}
BENCHMARK(BM_Service)
    ->ArgNames({"service", "task", "ms_of_bytes"})
    ->Apply(every_service)
    ->Iterations(9)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace virga
