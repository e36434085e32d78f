// What a channel through a Redis server reaches beside the server's own benchmark client, which sets and gets one key
// over and over; and the processor time of this side beside a bare send and receive of the same bytes. One connection
// each, over TCP of this machine.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/memory.h"
#include "virga/channel/redis_channel.h"
#include "virga/channel/redis_testing.h"
#include "virga/net/socket.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr std::int64_t kSmall = 1 << 10;
constexpr std::int64_t kLarge = 8 << 20;

const RedisServer& redis_server() {
  static const RedisServer server(RedisServer::Listens::kTcp, /*password=*/"");
  return server;
}

double cpu_seconds(const rusage& usage) {
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// Of this thread.
double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  return cpu_seconds(usage);
}

void report(benchmark::State& state, double cpu) {
  const auto moved = static_cast<double>(state.iterations() * state.range(0));
  state.counters["cpu_s_per_GB"] = cpu / (moved / 1e9);
  state.counters["per_second"] =
      benchmark::Counter(static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

Wait soon() { return {Deadline::in(30s)}; }

/// With what deleting it costs later, as often as a collective does.
void BM_RedisPut(benchmark::State& state) {
  keep_freed_memory();
  RedisChannel channel(redis_server().client(), "bench");
  const Bytes bytes(static_cast<std::size_t>(state.range(0)), std::byte{'x'});
  const ByteView part = bytes;
  const std::uint64_t together = std::clamp<std::uint64_t>((4 << 20) / bytes.size(), 1, 64);
  std::uint64_t round = 0;
  const auto turn = [&] {
    const Outgoing message{{.round = round}, {&part, 1}};
    channel.put({&message, 1}, soon());
    if (++round % together == 0) channel.retire(0, 0, 0, round, soon());
  };
  for (int i = 0; i < 16; ++i) turn();
  const auto start = cpu_seconds();
  for (auto _ : state) turn();
  report(state, cpu_seconds() - start);
  channel.sweep(kEverybody, soon());
}

void BM_RedisGet(benchmark::State& state) {
  keep_freed_memory();
  RedisChannel channel(redis_server().client(), "bench");
  const Bytes bytes(static_cast<std::size_t>(state.range(0)), std::byte{'x'});
  const ByteView part = bytes;
  const MessageKey key;
  const Outgoing message{key, {&part, 1}};
  channel.put({&message, 1}, soon());
  const auto turn = [&] {
    channel.get(
        {&key, 1}, [](const MessageKey&, const SharedBytes& got) { benchmark::DoNotOptimize(got); }, soon());
  };
  for (int i = 0; i < 16; ++i) turn();
  const auto start = cpu_seconds();
  for (auto _ : state) turn();
  report(state, cpu_seconds() - start);
  channel.sweep(kEverybody, soon());
}

/// Requests a second, by what redis-benchmark says itself.
double run_its_own(std::string_view test, int requests, std::int64_t size) {
  const auto command = fmt::format("redis-benchmark -p {} -c 1 -n {} -d {} -t {} --csv",
                                   redis_server().place().address.port, requests, size, test);
  const std::unique_ptr<FILE, int (*)(FILE*)> output(::popen(command.c_str(), "r"), &::pclose);
  std::array<char, 1000> text{};
  for (int line = 0; line < 2; ++line) {  // "test","rps",... and "SET","12345.67",...
    check(std::fgets(text.data(), text.size(), output.get()) != nullptr, "redis-benchmark says how fast it was");
  }
  const std::string_view fields = text.data();
  const auto comma = fields.find(",\"");
  check(comma != std::string_view::npos, "redis-benchmark says how fast it was");
  const double per_second = std::strtod(text.data() + comma + 2, nullptr);
  check(per_second > 0, "redis-benchmark says how fast it was");
  while (std::fgetc(output.get()) != EOF) {
  }
  return per_second;
}

/// Of redis-benchmark, with its processor time.
void its_own_client(benchmark::State& state, std::string_view test) {
  const int requests = state.range(0) > 100'000 ? 100 : 30'000;
  if (test == "get") run_its_own("set", 1, state.range(0));
  const auto children = [] {
    rusage usage{};
    ::getrusage(RUSAGE_CHILDREN, &usage);
    return cpu_seconds(usage);
  };
  const double before = children();
  for (auto _ : state) state.SetIterationTime(1 / run_its_own(test, requests, state.range(0)));
  const auto moved = static_cast<double>(state.iterations() * requests * state.range(0));
  state.counters["cpu_s_per_GB"] = (children() - before) / (moved / 1e9);
  state.counters["per_second"] =
      benchmark::Counter(static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}
void BM_ItsOwnSet(benchmark::State& state) { its_own_client(state, "set"); }
void BM_ItsOwnGet(benchmark::State& state) { its_own_client(state, "get"); }

bool receive_all(int socket, std::span<std::byte> to) {
  while (!to.empty()) {
    const auto count = ::recv(socket, to.data(), to.size(), 0);
    if (count <= 0) return false;
    to = to.subspan(static_cast<std::size_t>(count));
  }
  return true;
}
bool send_all(int socket, ByteView bytes) {
  while (!bytes.empty()) {
    const auto count = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return true;
}

/// Sends bytes to a thread that answers with one (or gets them for one): the least that this side can do.
void bare(benchmark::State& state, bool sends) {
  const Listener listener(parse_address("tcp:127.0.0.1:0"));
  const auto socket = connect_to(listener.address(), nullptr, Deadline::in(5s));
  check(wait_ready(listener.descriptor(), POLLIN, nullptr, Deadline::in(5s)) == Woken::kReady, "nobody connects");
  const auto peer_socket = listener.accept();
  for (const auto* one : {&socket, &peer_socket}) {
    ::fcntl(one->get(), F_SETFL, ::fcntl(one->get(), F_GETFL) & ~O_NONBLOCK);
  }
  Bytes long_one(static_cast<std::size_t>(state.range(0)));
  Bytes short_one(1);
  const std::jthread peer([&] {
    Bytes its_long(long_one.size());
    Bytes its_short(1);
    auto& in = sends ? its_long : its_short;
    auto& out = sends ? its_short : its_long;
    while (receive_all(peer_socket.get(), in) && send_all(peer_socket.get(), out)) {
    }
  });
  const auto turn = [&] {
    check(send_all(socket.get(), sends ? long_one : short_one), "the peer is there");
    check(receive_all(socket.get(), sends ? short_one : long_one), "the peer answers");
  };
  for (int i = 0; i < 16; ++i) turn();
  const auto start = cpu_seconds();
  for (auto _ : state) turn();
  report(state, cpu_seconds() - start);
  ::shutdown(socket.get(), SHUT_RDWR);
}
void BM_BareSend(benchmark::State& state) { bare(state, true); }
void BM_BareReceive(benchmark::State& state) { bare(state, false); }

// In turns, so that a noisy moment meets all of them.
#define VIRGA_BOTH_SIZES(function) BENCHMARK(function)->Arg(kSmall)->Arg(kLarge)->UseRealTime()->MinTime(0.5)
#define VIRGA_BOTH_SIZES_ONCE(function) BENCHMARK(function)->Arg(kSmall)->Arg(kLarge)->UseManualTime()->Iterations(1)
VIRGA_BOTH_SIZES(BM_RedisPut);
VIRGA_BOTH_SIZES_ONCE(BM_ItsOwnSet);
VIRGA_BOTH_SIZES(BM_BareSend);
VIRGA_BOTH_SIZES(BM_RedisGet);
VIRGA_BOTH_SIZES_ONCE(BM_ItsOwnGet);
VIRGA_BOTH_SIZES(BM_BareReceive);

}  // namespace
}  // namespace virga
