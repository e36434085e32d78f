#include <algorithm>
#include <chrono>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <benchmark/benchmark.h>

#include "virga/base/error.h"
#include "virga/engine/sandbox.h"
#include "virga/engine/sandbox_watch.h"

namespace virga {
namespace {

using Clock = std::chrono::steady_clock;

SandboxSpec nothing() {
  return {.program = "/bin/true", .working_folder = "/", .memory_bytes = std::uint64_t{128} << 20, .cpus = 0.5};
}

void wait_for_end(Sandbox& sandbox) {
  while (!sandbox.ended()) {
    pollfd poll{.fd = sandbox.end_descriptor(), .events = POLLIN, .revents = 0};
    ::poll(&poll, 1, 50);
  }
}

/// The engine's memory, all touched: what a fork of it would have to copy the page tables of.
std::vector<char> resident(std::int64_t mebibytes) {
  return std::vector<char>(static_cast<std::size_t>(mebibytes) << 20, 'x');
}

/// From the call to the program's exec; `pause`: milliseconds since the last start, in which the spare gets ready.
void BM_Start(benchmark::State& state) {
  SandboxMaker maker("bench", state.range(0) != 0 ? SandboxMaker::Want::kAll : SandboxMaker::Want::kNone);
  const auto memory = resident(state.range(1));
  std::vector<double> times;
  for (auto _ : state) {
    std::this_thread::sleep_for(std::chrono::milliseconds(state.range(2)));
    const auto start = Clock::now();
    const auto sandbox = maker.start(nothing());
    const std::chrono::duration<double> took = Clock::now() - start;
    state.SetIterationTime(took.count());
    times.push_back(took.count() * 1e3);
    wait_for_end(*sandbox);
  }
  std::ranges::sort(times);
  state.counters["median_ms"] = times[times.size() / 2];
  state.counters["p95_ms"] = times[times.size() * 95 / 100];
  state.SetLabel(describe(maker.powers()));
}
BENCHMARK(BM_Start)
    ->ArgNames({"held", "resident_MiB", "pause_ms"})
    ->ArgsProduct({{1, 0}, {1, 200}, {0, 20}})
    ->Iterations(200)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

/// The whole of it: from the call until everything is removed.
void BM_StartToGone(benchmark::State& state) {
  SandboxMaker maker("bench");
  for (auto _ : state) wait_for_end(*maker.start(nothing()));
}
BENCHMARK(BM_StartToGone)->Iterations(200)->UseRealTime()->Unit(benchmark::kMillisecond);

/// What is beside it: fork, exec and wait of the same program.
void BM_ForkExecWait(benchmark::State& state) {
  const auto memory = resident(state.range(0));
  std::vector<double> times;
  for (auto _ : state) {
    const auto start = Clock::now();
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::execl("/bin/true", "true", nullptr);
      ::_exit(127);
    }
    ::waitpid(pid, nullptr, 0);
    times.push_back(std::chrono::duration<double>(Clock::now() - start).count() * 1e3);
  }
  std::ranges::sort(times);
  state.counters["median_ms"] = times[times.size() / 2];
}
BENCHMARK(BM_ForkExecWait)
    ->ArgNames({"resident_MiB"})
    ->Args({1})
    ->Args({200})
    ->Iterations(200)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

/// The program's group goes before all others, so that other load on this machine does not take its share.
void prefer(pid_t pid) {
  std::ifstream groups("/proc/" + std::to_string(pid) + "/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (line.starts_with("0::")) {
      const auto folder = "/sys/fs/cgroup" + line.substr(3);
      for (const auto* part : {"/../cpu.weight", "/cpu.weight"}) std::ofstream(folder + part) << 10000;
    }
    const auto at = line.find(":cpu:");
    if (at != std::string::npos) std::ofstream("/sys/fs/cgroup/cpu" + line.substr(at + 5) + "/../cpu.shares") << 262144;
    if (at != std::string::npos) std::ofstream("/sys/fs/cgroup/cpu" + line.substr(at + 5) + "/cpu.shares") << 262144;
  }
}

/// Processor time of a busy program over ten seconds, against the share that it was given. One program that never
/// waits, so it uses what it may.
void BM_CpuShare(benchmark::State& state) {
  SandboxMaker maker("bench");
  auto spec = nothing();
  spec.program = "/bin/sh";
  spec.arguments = {"-c", "while :; do :; done"};
  spec.cpus = static_cast<double>(state.range(0)) / 100;
  for (auto _ : state) {
    const auto sandbox = maker.start(spec);
    prefer(sandbox->pid());
    const auto start = Clock::now();
    const auto before = sandbox->usage().cpu;
    std::this_thread::sleep_for(std::chrono::seconds(10));
    const auto used = sandbox->usage().cpu - before;
    const std::chrono::duration<double> passed = Clock::now() - start;
    state.counters["share_measured"] = std::chrono::duration<double>(used).count() / passed.count();
    state.counters["share_asked"] = spec.cpus;
  }
}
BENCHMARK(BM_CpuShare)->ArgName("percent")->Arg(7)->Arg(18)->Arg(40)->Arg(50)->Iterations(1)->Unit(benchmark::kSecond);

/// Memory of a program that takes more and more of it, as /proc shows it, against the limit that it was given.
void BM_MemoryLimit(benchmark::State& state) {
  SandboxMaker maker("bench");
  auto spec = nothing();
  spec.program = "/usr/bin/python3";
  spec.arguments = {"-c", "x = []\nwhile True: x.append(b'x' * (1 << 18))"};
  spec.memory_bytes = static_cast<std::uint64_t>(state.range(0)) << 20;
  spec.cpus = 1;
  const auto limit = static_cast<double>(spec.memory_bytes);
  for (auto _ : state) {
    const auto sandbox = maker.start(spec);
    std::uint64_t most = 0;
    std::optional<Sandbox::End> end;
    for (const auto limit_of_time = Clock::now() + std::chrono::minutes(2); !end && Clock::now() < limit_of_time;) {
      if (const auto facts = process_facts(sandbox->pid()))
        most = std::max(most, memory_of({*facts}, ~std::uint64_t{0}));
      pollfd poll{.fd = sandbox->end_descriptor(), .events = POLLIN, .revents = 0};
      if (::poll(&poll, 1, 1) > 0) end = sandbox->ended();
    }
    state.counters["seen_of_limit"] = static_cast<double>(most) / limit;
    state.counters["peak_of_limit"] = static_cast<double>(sandbox->usage().peak_memory_bytes) / limit;
    state.counters["out_of_memory"] = end && end->out_of_memory ? 1 : 0;
  }
  state.SetLabel(describe(maker.powers()));
}
BENCHMARK(BM_MemoryLimit)->ArgName("MiB")->Arg(128)->Arg(512)->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace virga
