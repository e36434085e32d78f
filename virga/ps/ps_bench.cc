// What a data store costs beyond its sockets: time of small exchanges, and processor time of large ones beside a bare
// echo of the same bytes over the same kind of socket. Server and clients are threads of this process; a network is
// left out.
#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <benchmark/benchmark.h>

#include "virga/base/error.h"
#include "virga/base/memory.h"
#include "virga/net/socket.h"
#include "virga/ps/client.h"
#include "virga/ps/server.h"

namespace virga {
namespace {

using namespace std::chrono_literals;

std::string listen_address(bool tcp) {
  return tcp ? "tcp:127.0.0.1:0" : "unix:/tmp/virga-ps-bench-" + std::to_string(::getpid());
}

Wait soon() { return {Deadline::in(30s)}; }

/// Of all threads of this process.
double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// Processor time for each GB that goes to the store and comes back.
void report(benchmark::State& state, std::size_t bytes, double cpu) {
  const auto moved = static_cast<double>(state.iterations()) * static_cast<double>(bytes);
  state.counters["cpu_s_per_GB"] = cpu / (moved / 1e9);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes));
}

void put(PsClient& client, const PsKey& key, ByteView bytes) {
  const PsOutgoing message{key, {&bytes, 1}};
  client.put({&message, 1}, soon());
}

SharedBytes get(PsClient& client, const PsKey& key) {
  SharedBytes found;
  const auto missing = client.get(
      {&key, 1}, [&](std::size_t, const SharedBytes& bytes) { found = bytes; }, soon());
  check(missing.empty(), "a message is missing");
  return found;
}

void BM_PutAndGetSmall(benchmark::State& state) {
  const PsServer server({.listen = {listen_address(state.range(0) != 0)}});
  PsClient client({.address = server.addresses()[0]});
  const Bytes bytes(4096);
  std::uint64_t round = 0;
  for (auto _ : state) {
    put(client, {.round = round}, bytes);
    benchmark::DoNotOptimize(get(client, {.round = round}));
    if (++round % 64 == 0) client.retire({.round = round}, soon());
  }
}
BENCHMARK(BM_PutAndGetSmall)->ArgName("tcp")->Arg(0)->Arg(1)->UseRealTime();

/// Two workers give each other 4 KB, each round.
void BM_ExchangeSmall(benchmark::State& state) {
  const PsServer server({.listen = {listen_address(state.range(0) != 0)}});
  const Bytes bytes(4096);
  const auto exchange = [&](PsClient& client, std::uint32_t me, std::uint64_t round) {
    put(client, {.source = me, .round = round}, bytes);
    benchmark::DoNotOptimize(get(client, {.source = 1 - me, .round = round}));
    if (round % 64 == 63) client.retire({.source = me, .round = round - 2}, soon());
  };
  const PsKey stop = {.view = 1};
  std::jthread other([&] {
    PsClient client({.address = server.addresses()[0]});
    for (std::uint64_t round = 0; !client.try_get(stop, soon()); ++round) {
      try {
        put(client, {.source = 1, .round = round}, bytes);
        const PsKey key = {.source = 0, .round = round};
        while (!client.get({&key, 1}, [](std::size_t, const SharedBytes&) {}, {Deadline::in(200ms)}).empty()) {
          if (client.try_get(stop, soon())) return;
        }
        if (round % 64 == 63) client.retire({.source = 1, .round = round - 2}, soon());
      } catch (const Error& error) {
        check(false, error.what());
      }
    }
  });
  PsClient client({.address = server.addresses()[0]});
  std::uint64_t round = 0;
  for (auto _ : state) exchange(client, 0, round++);
  put(client, stop, {});
}
BENCHMARK(BM_ExchangeSmall)->ArgName("tcp")->Arg(0)->Arg(1)->UseRealTime();

void BM_PutAndGetLarge(benchmark::State& state) {
  keep_freed_memory();
  const PsServer server({.listen = {listen_address(state.range(0) != 0)}});
  PsClient client({.address = server.addresses()[0]});
  const Bytes bytes(static_cast<std::size_t>(state.range(1)));
  std::uint64_t round = 0;
  const auto turn = [&] {
    put(client, {.round = round}, bytes);
    benchmark::DoNotOptimize(get(client, {.round = round}));
    if (++round % 4 == 0) client.retire({.round = round}, soon());
  };
  for (int i = 0; i < 5; ++i) turn();
  const auto start = cpu_seconds();
  for (auto _ : state) turn();
  report(state, bytes.size(), cpu_seconds() - start);
}
BENCHMARK(BM_PutAndGetLarge)
    ->ArgNames({"tcp", "bytes"})
    ->ArgsProduct({{0, 1}, {256 << 10, 1 << 20, 8 << 20}})
    ->UseRealTime();

void set_blocking(int socket) {
  const int flags = ::fcntl(socket, F_GETFL);
  ::fcntl(socket, F_SETFL, flags & ~O_NONBLOCK);
}

bool receive_all(int socket, std::span<std::byte> to) {
  while (!to.empty()) {
    const auto count = ::recv(socket, to.data(), to.size(), 0);
    if (count <= 0) return false;
    to = to.subspan(static_cast<std::size_t>(count));
  }
  return true;
}

void send_all(int socket, ByteView bytes) {
  while (!bytes.empty()) {
    const auto count = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count <= 0) return;
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

/// The least that these transfers can cost: to another thread and back, into buffers that are there already.
void BM_BareEchoLarge(benchmark::State& state) {
  const Listener listener(parse_address(listen_address(state.range(0) != 0)));
  const auto size = static_cast<std::size_t>(state.range(1));
  const auto socket = connect_to(listener.address(), nullptr, Deadline::in(5s));
  check(wait_ready(listener.descriptor(), POLLIN, nullptr, Deadline::in(5s)) == Woken::kReady, "nobody connects");
  const auto peer_socket = listener.accept();
  for (const auto* one : {&socket, &peer_socket}) set_blocking(one->get());
  const std::jthread peer([&] {
    Bytes buffer(size);
    while (receive_all(peer_socket.get(), buffer)) send_all(peer_socket.get(), buffer);
  });
  const Bytes bytes(size);
  Bytes back(size);
  const auto turn = [&] {
    send_all(socket.get(), bytes);
    check(receive_all(socket.get(), back), "the echo broke");
  };
  for (int i = 0; i < 5; ++i) turn();
  const auto start = cpu_seconds();
  for (auto _ : state) turn();
  report(state, size, cpu_seconds() - start);
  ::shutdown(socket.get(), SHUT_RDWR);
}
BENCHMARK(BM_BareEchoLarge)
    ->ArgNames({"tcp", "bytes"})
    ->ArgsProduct({{0, 1}, {256 << 10, 1 << 20, 8 << 20}})
    ->UseRealTime();

}  // namespace
}  // namespace virga
