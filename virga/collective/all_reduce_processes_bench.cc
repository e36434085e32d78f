// All-reduce through a virga-ps or a Redis server among processes, and the bare send/receive of the same transfers: who
// puts m bytes sends them to a relay, who gets them receives them from it, over the same kind of socket.
#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <benchmark/benchmark.h>

#include "virga/base/error.h"
#include "virga/base/memory.h"
#include "virga/channel/ps_channel.h"
#include "virga/channel/redis_channel.h"
#include "virga/channel/redis_testing.h"
#include "virga/collective/all_reduce.h"
#include "virga/net/socket.h"
#include "virga/ps/server.h"

namespace virga {
namespace {

using Clock = std::chrono::steady_clock;

struct Task {
  std::uint32_t members;
  std::uint32_t elements;
  Pattern pattern;
  std::uint64_t rounds;
  std::uint64_t warm_up;
};

/// What the processes say, in memory that they share.
struct Report {
  double seconds[16];      // of a member's rounds
  double cpu_seconds[17];  // of the same; the store's or relay's come last
};

class SharedReport {
 public:
  SharedReport()
      : report_(static_cast<Report*>(
            ::mmap(nullptr, sizeof(Report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
    check(report_ != MAP_FAILED, "no shared memory");
  }
  ~SharedReport() { ::munmap(report_, sizeof(Report)); }
  SharedReport(const SharedReport&) = delete;
  SharedReport& operator=(const SharedReport&) = delete;
  Report& operator*() const { return *report_; }

 private:
  Report* report_;
};

pid_t start(const std::function<void()>& work) {
  const auto pid = ::fork();
  check(pid >= 0, "no process");
  if (pid > 0) return pid;
  try {
    work();
  } catch (...) {
    ::_exit(1);
  }
  ::_exit(0);
}

void join(pid_t pid) {
  int status = 0;
  ::waitpid(pid, &status, 0);
  check(status == 0, "a process failed");
}

double cpu_seconds_of(pid_t process) {
  clockid_t clock{};
  timespec time{};
  check(::clock_getcpuclockid(process, &clock) == 0 && ::clock_gettime(clock, &time) == 0, "no clock of a process");
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// Runs `round` for the rounds of a task, and tells what those after the first ones took; member 0 also for `middle`,
/// which all talk to.
template <typename Round>
void timed_rounds(const Task& task, std::uint32_t member, pid_t middle, Report& report, const Round& round) {
  Clock::time_point begun;
  double cpu = 0, cpu_of_middle = 0;
  for (std::uint64_t r = 0; r < task.warm_up + task.rounds; ++r) {
    if (r == task.warm_up) {
      begun = Clock::now();
      cpu = process_usage().cpu_seconds;
      cpu_of_middle = cpu_seconds_of(middle);
    }
    round(r);
  }
  report.seconds[member] = std::chrono::duration<double>(Clock::now() - begun).count();
  report.cpu_seconds[member] = process_usage().cpu_seconds - cpu;
  if (member == 0) report.cpu_seconds[task.members] = cpu_seconds_of(middle) - cpu_of_middle;
}

/// Makes a member's channel, in its process.
using MakeChannel = std::function<std::unique_ptr<Channel>()>;

void member_of_store(const Task& task, std::uint32_t member, const MakeChannel& make, pid_t store, Report& report) {
  keep_freed_memory();
  const Layout layout = {{.name = "weights", .rows = task.elements, .width = 1, .regularised = true, .sparse = false}};
  Contribution contribution;
  contribution.weight = 1;
  contribution.tables.push_back({.whole = true, .keys = {}, .values = std::vector<float>(task.elements, 1.5F)});
  const auto channel = make();
  AllReduce all_reduce(*channel, {.view = 1, .rank = member, .size = task.members}, layout,
                       cut_tables(layout, task.members), {.pattern = task.pattern});
  const Wait wait{Deadline::in(std::chrono::minutes(2))};
  timed_rounds(task, member, store, report,
               [&](std::uint64_t round) { benchmark::DoNotOptimize(all_reduce(round, contribution, 0, wait).data()); });
}

void members_of_store(const Task& task, const MakeChannel& make, pid_t store, Report& report) {
  std::vector<pid_t> members;
  for (std::uint32_t m = 0; m < task.members; ++m) {
    members.push_back(start([&, m] { member_of_store(task, m, make, store, report); }));
  }
  for (const auto pid : members) join(pid);
}

void through_redis(const Task& task, RedisServer::Listens listens, Report& report) {
  const RedisServer server(listens);
  members_of_store(
      task, [&] { return std::make_unique<RedisChannel>(server.client(), "bench"); }, server.process(), report);
}

void through_store(const Task& task, const std::string& address, Report& report) {
  int ready[2];
  check(::pipe(ready) == 0, "no pipe");
  sigset_t term;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &term, nullptr);  // NOLINT(concurrency-mt-unsafe): there is one thread
  const auto store = start([&] {
    keep_freed_memory();
    PsServerOptions options;
    options.listen = {address};
    const PsServer server(options);
    check(::write(ready[1], "r", 1) == 1, "nobody waits");
    int signal = 0;
    ::sigwait(&term, &signal);
  });
  char byte = 0;
  check(::read(ready[0], &byte, 1) == 1, "the store did not start");
  members_of_store(
      task,
      [&] {
        return std::make_unique<PsChannel>(std::make_shared<PsClient>(PsClientOptions{address, "", "bench"}));
      },
      store, report);
  ::kill(store, SIGTERM);
  join(store);
  ::close(ready[0]);
  ::close(ready[1]);
}

void send_all(int socket, std::span<const char> bytes) {
  while (!bytes.empty()) {
    const auto sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    check(sent > 0, "a bare send failed");
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
}
void receive_all(int socket, std::span<char> bytes) {
  while (!bytes.empty()) {
    const auto got = ::recv(socket, bytes.data(), bytes.size(), 0);
    check(got > 0, "a bare receive failed");
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
}

/// Bytes that each member sends and then receives, phase by phase.
struct Transfer {
  std::size_t sent, received;
};
std::vector<Transfer> transfers_of(const Task& task) {
  const auto all = std::size_t{task.elements} * sizeof(float);
  const auto share = all / task.members;
  const auto others = task.members - 1;
  if (task.pattern == Pattern::kAllToAll) return {{all, others * all}};
  return {{others * share, others * share}, {share, others * share}};  // scatter-reduce
}

/// Both ends of a connection, tuned as those of a data store are; receivers block.
std::array<int, 2> connected(bool tcp) {
  std::array<int, 2> pair{};
  if (!tcp) {
    check(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) == 0, "no socket");
    return pair;
  }
  const Listener listener(parse_address("tcp:127.0.0.1:0"));
  auto theirs = connect_to(listener.address(), nullptr, Deadline::in(std::chrono::seconds(5)));
  Descriptor ours;
  while (!ours) ours = listener.accept();
  pair = {ours.release(), theirs.release()};
  for (const int socket : pair) check(::fcntl(socket, F_SETFL, 0) == 0, "a socket cannot block");
  return pair;
}

void bare(const Task& task, bool tcp, Report& report) {
  std::vector<std::array<int, 2>> sockets(task.members);
  for (auto& pair : sockets) pair = connected(tcp);
  const auto transfers = transfers_of(task);
  const auto all = std::size_t{task.elements} * sizeof(float);
  const auto others = task.members - 1;
  const auto relay = start([&] {
    std::vector<std::vector<char>> from(task.members, std::vector<char>(all));
    for (std::uint64_t round = 0; round < task.warm_up + task.rounds; ++round) {
      for (const auto& [sent, received] : transfers) {
        const auto piece = received / others;  // what one member gets of another: its own, or what all get
        for (std::uint32_t m = 0; m < task.members; ++m) receive_all(sockets[m][0], std::span(from[m]).first(sent));
        for (std::uint32_t to = 0; to < task.members; ++to) {
          for (std::uint32_t m = 0; m < task.members; ++m) {
            const auto offset = sent == piece ? 0 : piece * (to < m ? to : to - 1);
            if (m != to) send_all(sockets[to][0], std::span(from[m]).subspan(offset, piece));
          }
        }
      }
    }
  });
  std::vector<pid_t> members;
  for (std::uint32_t m = 0; m < task.members; ++m) {
    members.push_back(start([&, m] {
      const std::vector<char> own(all, static_cast<char>('a' + m));
      std::vector<char> got(others * all);
      timed_rounds(task, m, relay, report, [&](std::uint64_t) {
        for (const auto& [sent, received] : transfers) {
          send_all(sockets[m][1], std::span(own).first(sent));
          receive_all(sockets[m][1], std::span(got).first(received));
        }
      });
      check(got[0] == (m == 0 ? 'b' : 'a'), "the relay mixes up its members");
    }));
  }
  for (const auto pid : members) join(pid);
  join(relay);
  for (const auto& pair : sockets) {
    ::close(pair[0]);
    ::close(pair[1]);
  }
}

Task task_of(const benchmark::State& state) {
  const auto elements = static_cast<std::uint32_t>(state.range(1) / static_cast<std::int64_t>(sizeof(float)));
  const std::uint64_t rounds = std::clamp<std::uint64_t>((std::uint64_t{1} << 27) / elements, 20, 5000);
  return {static_cast<std::uint32_t>(state.range(0)), elements, kPatterns[state.range(2)], rounds, rounds / 4 + 1};
}

template <typename Run>
void measure(benchmark::State& state, const Run& run) {
  const auto task = task_of(state);
  double cpu = 0, moved = 0;
  for (auto _ : state) {
    const SharedReport shared;
    auto& report = *shared;
    report = {};
    run(task, report);
    state.SetIterationTime(*std::max_element(report.seconds, report.seconds + task.members) /
                           static_cast<double>(task.rounds));
    for (std::uint32_t m = 0; m <= task.members; ++m) cpu += report.cpu_seconds[m];
    for (const auto& [sent, received] : transfers_of(task)) {
      moved += static_cast<double>((sent + received) * task.members * task.rounds);
    }
  }
  state.counters["cpu_s_per_GB"] = cpu / (moved / 1e9);
}

void BM_AllReduceProcesses(benchmark::State& state) {
  const bool tcp = state.range(3) != 0;
  measure(state, [&](const Task& task, Report& report) {
    const auto path = "/tmp/virga-all-reduce-" + std::to_string(::getpid());
    through_store(task, tcp ? "tcp:127.0.0.1:38471" : "unix:" + path, report);
    ::unlink(path.c_str());
  });
}
void BM_AllReduceRedis(benchmark::State& state) {
  const auto listens = state.range(3) != 0 ? RedisServer::Listens::kTcp : RedisServer::Listens::kUnix;
  measure(state, [&](const Task& task, Report& report) { through_redis(task, listens, report); });
}
void BM_BareProcesses(benchmark::State& state) {
  measure(state, [&](const Task& task, Report& report) { bare(task, state.range(3) != 0, report); });
}

constexpr std::int64_t kAllToAll = 2;
constexpr std::int64_t kScatterReduce = 1;

BENCHMARK(BM_AllReduceProcesses)
    ->ArgNames({"members", "bytes", "pattern", "tcp"})
    ->Args({2, 4 << 10, kAllToAll, 0})
    ->Args({2, 4 << 10, kAllToAll, 1})
    ->Args({2, 4 << 10, kScatterReduce, 0})
    ->Args({2, 1 << 20, kAllToAll, 0})
    ->Args({4, 50 << 20, kScatterReduce, 0})
    ->Args({4, 50 << 20, kScatterReduce, 1})
    ->Iterations(1)
    ->Repetitions(5)
    ->ReportAggregatesOnly(true)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(BM_AllReduceRedis)
    ->ArgNames({"members", "bytes", "pattern", "tcp"})
    ->Args({2, 4 << 10, kAllToAll, 0})
    ->Args({2, 4 << 10, kAllToAll, 1})
    ->Args({2, 1 << 20, kAllToAll, 0})
    ->Args({4, 50 << 20, kScatterReduce, 0})
    ->Args({4, 50 << 20, kScatterReduce, 1})
    ->Iterations(1)
    ->Repetitions(5)
    ->ReportAggregatesOnly(true)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(BM_BareProcesses)
    ->ArgNames({"members", "bytes", "pattern", "tcp"})
    ->Args({2, 4 << 10, kAllToAll, 0})
    ->Args({2, 4 << 10, kAllToAll, 1})
    ->Args({2, 4 << 10, kScatterReduce, 0})
    ->Args({2, 1 << 20, kAllToAll, 0})
    ->Args({4, 50 << 20, kScatterReduce, 0})
    ->Args({4, 50 << 20, kScatterReduce, 1})
    ->Iterations(1)
    ->Repetitions(5)
    ->ReportAggregatesOnly(true)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace virga
