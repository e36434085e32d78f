// All-reduce among processes of this machine: through the direct channel, and by Gloo
// (https://github.com/facebookincubator/gloo) over TCP, in turns. Only built where Gloo is installed. Both are
// connected before the clock begins; Virga's time holds the header and checksum of each message, and its sums are those
// of the balanced tree; Gloo sums in place.
//
//     all_reduce_gloo_bench [MEMBERS [REPETITIONS]]
//
// says for each size the median and the range, over the repetitions, of milliseconds a round.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gloo/allreduce.h>
#include <gloo/allreduce_halving_doubling.h>
#include <gloo/barrier.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "virga/base/error.h"
#include "virga/base/memory.h"
#include "virga/channel/direct_channel.h"
#include "virga/channel/directory_register.h"
#include "virga/collective/all_reduce.h"

namespace virga {
namespace {

using Clock = std::chrono::steady_clock;

struct Task {
  std::uint32_t members;
  std::uint32_t elements;
  std::uint64_t rounds;
  std::uint64_t warm_up;
  std::filesystem::path folder;  // of this measurement alone
};

/// Seconds a round of member 0.
template <typename Round>
double timed(const Task& task, const Round& round) {
  Clock::time_point begun;
  for (std::uint64_t r = 0; r < task.warm_up + task.rounds; ++r) {
    if (r == task.warm_up) begun = Clock::now();
    round(r);
  }
  return std::chrono::duration<double>(Clock::now() - begun).count() / static_cast<double>(task.rounds);
}

double direct(const Task& task, std::uint32_t rank, Pattern pattern) {
  keep_freed_memory();
  const Layout layout = {{.name = "weights", .rows = task.elements, .width = 1, .regularised = true, .sparse = false}};
  Contribution contribution;
  contribution.weight = 1;
  contribution.tables.push_back(
      {.whole = true, .keys = {}, .values = std::vector<float>(task.elements, static_cast<float>(rank + 1))});
  DirectView view;
  for (std::uint32_t m = 0; m < task.members; ++m) view.members.push_back({m, 1});
  DirectoryRegister registers(task.folder);
  DirectChannel channel(
      registers,
      {.token = "bench", .job = "bench", .me = {rank, 1}, .find_view = [&](auto, const Wait&) { return view; }});
  const Wait wait{Deadline::in(std::chrono::minutes(2))};
  AllReduce all_reduce(channel, {.view = 1, .rank = rank, .size = task.members}, layout,
                       cut_tables(layout, task.members), {.pattern = pattern});
  const auto seconds = timed(task, [&](std::uint64_t round) {
    const auto& sums = all_reduce(round, contribution, 0, wait);
    check(sums[0].tables[0].rows.values[0] == 0.5F * static_cast<float>(task.members * (task.members + 1)),
          "a wrong sum");
  });
  channel.leave(wait);
  return seconds;
}

double gloo_rounds(const Task& task, std::uint32_t rank, bool halving) {
  gloo::transport::tcp::attr attributes;
  attributes.hostname = "127.0.0.1";
  auto device = gloo::transport::tcp::CreateDevice(attributes);
  auto store = gloo::rendezvous::FileStore(task.folder);
  auto context = std::make_shared<gloo::rendezvous::Context>(static_cast<int>(rank), static_cast<int>(task.members));
  context->connectFullMesh(store, device);
  std::vector<float> values(task.elements, static_cast<float>(rank + 1));
  const auto own = values;
  std::unique_ptr<gloo::Algorithm> algorithm;
  if (halving) {
    algorithm = std::make_unique<gloo::AllreduceHalvingDoubling<float>>(context, std::vector{values.data()},
                                                                        static_cast<int>(values.size()));
  }
  const auto seconds = timed(task, [&](std::uint64_t) {
    if (halving) return algorithm->run();
    gloo::AllreduceOptions options(context);
    options.setOutput(values.data(), values.size());
    options.setReduceFunction([](void* sum, const void* left, const void* right, std::size_t count) {
      gloo::sum<float>(sum, left, right, count);
    });
    gloo::allreduce(options);
  });
  gloo::BarrierOptions all(context);
  gloo::barrier(all);  // before anybody hangs up
  return seconds;
}

double in_processes(Task task, const std::function<double(const Task&, std::uint32_t rank)>& member) {
  static int count = 0;
  task.folder = std::filesystem::temp_directory_path() /
                ("virga-gloo-bench-" + std::to_string(::getpid()) + "-" + std::to_string(++count));
  std::filesystem::create_directories(task.folder);
  auto* const seconds =
      static_cast<double*>(::mmap(nullptr, sizeof(double), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  std::vector<pid_t> processes;
  for (std::uint32_t rank = 0; rank < task.members; ++rank) {
    const auto pid = ::fork();
    check(pid >= 0, "no process");
    processes.push_back(pid);
    if (pid > 0) continue;
    try {
      const auto its = member(task, rank);
      if (rank == 0) *seconds = its;
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s\n", error.what());
      ::_exit(1);
    }
    ::_exit(0);
  }
  for (const auto pid : processes) {
    int status = 0;
    ::waitpid(pid, &status, 0);
    check(status == 0, "a member failed");
  }
  const auto result = *seconds;
  ::munmap(seconds, sizeof(double));
  std::filesystem::remove_all(task.folder);
  return result;
}

struct Way {
  const char* name;
  std::function<double(const Task&, std::uint32_t rank)> member;
  std::vector<double> milliseconds = {};
};

int run(std::uint32_t members, int repetitions) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  std::printf("%-10s %-24s %10s %10s %10s   (ms a round, %u members, %d repetitions)\n", "bytes", "", "median", "least",
              "most", members, repetitions);
  for (const std::uint32_t bytes : {1U << 10, 1U << 20, 50U << 20}) {
    Task task{.members = members, .elements = bytes / 4, .rounds = 0, .warm_up = 0, .folder = {}};
    task.rounds = std::clamp<std::uint64_t>((std::uint64_t{1} << 29) / bytes, 10, 1000);
    task.warm_up = task.rounds / 5 + 2;
    std::vector<Way> ways = {
        {"direct, all-to-all", [](const Task& t, std::uint32_t r) { return direct(t, r, Pattern::kAllToAll); }},
        {"direct, scatter-reduce",
         [](const Task& t, std::uint32_t r) { return direct(t, r, Pattern::kScatterReduce); }},
        {"gloo, ring", [](const Task& t, std::uint32_t r) { return gloo_rounds(t, r, false); }},
        {"gloo, halving-doubling", [](const Task& t, std::uint32_t r) { return gloo_rounds(t, r, true); }},
    };
    for (int i = 0; i < repetitions; ++i) {
      for (auto& way : ways) way.milliseconds.push_back(1e3 * in_processes(task, way.member));
    }
    for (auto& way : ways) {
      std::ranges::sort(way.milliseconds);
      std::printf("%-10u %-24s %10.4f %10.4f %10.4f\n", bytes, way.name, way.milliseconds[way.milliseconds.size() / 2],
                  way.milliseconds.front(), way.milliseconds.back());
    }
  }
  return 0;
}

}  // namespace
}  // namespace virga

int main(int argc, char** argv) {
  const int members = argc > 1 ? static_cast<int>(std::strtol(argv[1], nullptr, 10)) : 2;
  const int repetitions = argc > 2 ? static_cast<int>(std::strtol(argv[2], nullptr, 10)) : 5;
  if (members < 2 || members > 16 || repetitions < 1) {
    std::fprintf(stderr, "usage: all_reduce_gloo_bench [MEMBERS (2 to 16) [REPETITIONS]]\n");
    return 2;
  }
  return virga::run(static_cast<std::uint32_t>(members), repetitions);
}
