// Messages through Memcached, and a plain client beside it: `set` and `get` of the text protocol over a blocking
// socket, one value at a time, cut where it does not fit into an item, which is the least that any client does. Needs
// the program memcached.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/memory.h"
#include "virga/channel/open_channel.h"
#include "virga/net/service_process_testing.h"
#include "virga/net/socket.h"

namespace virga {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kItemBytes = (std::size_t{1} << 20) - 512;

/// A Memcached for all benches of this program.
class BenchService {
 public:
  BenchService() {
    auto name = std::string("/tmp/virga_bench.XXXXXX");
    check(::mkdtemp(name.data()) != nullptr, "a folder can be made");
    path_ = name + "/socket";
    std::vector<std::string> command = {"memcached", "-s", path_, "-m", "512", "-t", "2"};
    if (::geteuid() == 0) command.insert(command.end(), {"-u", "root"});
    process_ = std::make_unique<ServiceProcess>(command, "the Debian package memcached");
    process_->await([&] { return ::access(path_.c_str(), W_OK) == 0; });
  }
  ~BenchService() {
    process_.reset();
    ::unlink(path_.c_str());
    ::rmdir(path_.substr(0, path_.rfind('/')).c_str());
  }
  BenchService(const BenchService&) = delete;
  BenchService& operator=(const BenchService&) = delete;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
  std::unique_ptr<ServiceProcess> process_;
};

const std::string& path_of_service() {
  static const BenchService service;
  return service.path();
}

double cpu_seconds() { return process_usage().cpu_seconds; }

void BM_ChannelPutGet(benchmark::State& state) {
  keep_freed_memory();
  const auto channel = open_channel("memcached:unix:" + path_of_service(), "bench", "");
  const std::vector<std::byte> value(static_cast<std::size_t>(state.range(0)), std::byte{7});
  const ByteView part = value;
  const Wait wait{Deadline::in(2min)};
  const auto cpu = cpu_seconds();
  std::uint64_t round = 0;
  for (auto _ : state) {
    const MessageKey key{.view = 1, .source = 1, .round = ++round};
    channel->put(std::vector<Outgoing>{{key, {&part, 1}}}, wait);
    channel->get(
        std::vector{key}, [](const auto&, const SharedBytes& bytes) { benchmark::DoNotOptimize(bytes.size()); }, wait);
    if (round % 8 == 0) {
      state.PauseTiming();
      channel->retire(1, 0, 1, round, wait);
      state.ResumeTiming();
    }
  }
  channel->retire(1, 0, 1, round, wait);
  state.SetBytesProcessed(state.iterations() * 2 * state.range(0));
  state.counters["cpu_s_per_GB"] =
      (cpu_seconds() - cpu) / (2e-9 * static_cast<double>(state.iterations()) * static_cast<double>(state.range(0)));
}

/// A blocking socket.
class PlainClient {
 public:
  explicit PlainClient(const std::string& path)
      : socket_(connect_to(parse_address("unix:" + path), nullptr, Deadline::in(5s))) {
    check(static_cast<bool>(socket_), "Memcached answers");
  }
  void set(const std::string& key, ByteView value) {
    const auto head = fmt::format("set {} 0 0 {}\r\n", key, value.size());
    if (value.size() < 4096) {  // as one, since a system call costs more
      request_ = head;
      request_ += as_text(value);
      send(as_bytes(request_ += "\r\n"));
    } else {
      send(as_bytes(head));
      send(value);
      send(as_bytes("\r\n"));
    }
    rest_.resize(8);  // STORED
    receive(rest_);
  }
  void remove(const std::string& key) {
    send(as_bytes(fmt::format("delete {}\r\n", key)));
    rest_.resize(9);  // DELETED
    receive(rest_);
  }
  void get(const std::string& key, std::span<std::byte> to) {
    send(as_bytes(fmt::format("get {}\r\n", key)));
    // VALUE key 0 n, the value, END: of a known length.
    const auto head = fmt::format("VALUE {} 0 {}\r\n", key, to.size()).size();
    rest_.resize(head);
    receive(rest_);
    receive(to);
    rest_.resize(7);
    receive(rest_);
  }

 private:
  void send(ByteView bytes) {
    while (!bytes.empty()) {
      const auto sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0) {
        check(wait_ready(socket_.get(), POLLOUT, nullptr, Deadline::in(20s)) == Woken::kReady, "a plain send fails");
        continue;
      }
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
  }
  void receive(std::span<std::byte> to) {
    while (!to.empty()) {
      const auto count = ::recv(socket_.get(), to.data(), to.size(), 0);
      if (count < 0) {
        check(wait_ready(socket_.get(), POLLIN, nullptr, Deadline::in(20s)) == Woken::kReady, "a plain receive fails");
        continue;
      }
      check(count > 0, "Memcached has ended");
      to = to.subspan(static_cast<std::size_t>(count));
    }
  }
  Descriptor socket_;
  std::string request_;
  std::vector<std::byte> rest_;
};

void BM_PlainSetGet(benchmark::State& state) {
  PlainClient client(path_of_service());
  std::vector<std::byte> value(static_cast<std::size_t>(state.range(0)), std::byte{7});
  std::vector<std::byte> got(value.size());
  const auto cpu = cpu_seconds();
  const auto key_of = [](std::uint64_t round, std::size_t at) { return fmt::format("plain-{:060}-{}", round, at); };
  std::uint64_t round = 0;
  for (auto _ : state) {
    ++round;
    for (std::size_t at = 0; at < value.size(); at += kItemBytes) {
      client.set(key_of(round, at), ByteView(value).subspan(at, std::min(kItemBytes, value.size() - at)));
    }
    for (std::size_t at = 0; at < value.size(); at += kItemBytes) {
      client.get(key_of(round, at), std::span(got).subspan(at, std::min(kItemBytes, value.size() - at)));
    }
    if (round % 8 != 0) continue;
    state.PauseTiming();
    for (auto old = round - 7; old <= round; ++old) {
      for (std::size_t at = 0; at < value.size(); at += kItemBytes) client.remove(key_of(old, at));
    }
    state.ResumeTiming();
  }
  state.SetBytesProcessed(state.iterations() * 2 * state.range(0));
  state.counters["cpu_s_per_GB"] =
      (cpu_seconds() - cpu) / (2e-9 * static_cast<double>(state.iterations()) * static_cast<double>(state.range(0)));
}

BENCHMARK(BM_ChannelPutGet)->ArgName("bytes")->Arg(1 << 10)->Arg(8 << 20)->UseRealTime();
BENCHMARK(BM_PlainSetGet)->ArgName("bytes")->Arg(1 << 10)->Arg(8 << 20)->UseRealTime();

}  // namespace
}  // namespace virga
