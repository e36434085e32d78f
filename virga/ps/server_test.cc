// A data store and its clients over sockets; what Channel and Register promise stands in their contract suites.
#include "virga/ps/server.h"

#include <array>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/base/threads.h"
#include "virga/net/socket.h"
#include "virga/ps/client.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

Wait soon() { return {Deadline::in(20s)}; }

PsKey key(std::uint32_t source, std::uint64_t round = 0) { return {.view = 1, .source = source, .round = round}; }

void put(PsClient& client, const PsKey& where, ByteView bytes) {
  const PsOutgoing message{where, {&bytes, 1}};
  client.put({&message, 1}, soon());
}
void put(PsClient& client, const PsKey& where, std::string_view text) { put(client, where, as_bytes(text)); }

/// The text under `where`, or what is instead.
std::string text_of(PsClient& client, const PsKey& where, const Wait& wait = soon()) {
  std::string text = "missing";
  static_cast<void>(client.get(
      {&where, 1}, [&](std::size_t, const SharedBytes& bytes) { text = as_text(bytes.view()); }, wait));
  return text;
}

template <typename Call>
std::unique_ptr<Error> error_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return std::make_unique<Error>(error);
  }
  ADD_FAILURE() << "nothing was thrown";
  return std::make_unique<Error>(ErrorKind::kInternal, "nothing was thrown");
}

std::string socket_path() {
  static std::atomic<int> count = 0;
  return testing::TempDir() + "virga-ps-" + std::to_string(::getpid()) + "-" + std::to_string(++count);
}

/// Bytes in and out, without a client that knows what they mean.
class RawClient {
 public:
  explicit RawClient(const PsServer& server)
      : socket_(connect_to(parse_address(server.addresses()[0]), nullptr, Deadline::in(20s))) {}

  void send(ByteView bytes) {
    while (!bytes.empty()) {
      const auto count = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count < 0 && errno != EAGAIN) return;
      if (count < 0) static_cast<void>(wait_ready(socket_.get(), POLLOUT, nullptr, Deadline::in(20s)));
      if (count > 0) bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
  }
  /// All until the server ends the connection.
  Bytes read_to_end() {
    Bytes all;
    for (;;) {
      std::array<std::byte, 4096> buffer;
      if (wait_ready(socket_.get(), POLLIN, nullptr, Deadline::in(20s)) != Woken::kReady) {
        ADD_FAILURE() << "the server does not end the connection";
        return all;
      }
      const auto count = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
      if (count <= 0) return all;
      all.insert(all.end(), buffer.begin(), buffer.begin() + count);
    }
  }
  /// Without reading what was said before.
  void wait_for_the_end() { EXPECT_EQ(wait_ready(socket_.get(), 0, nullptr, Deadline::in(20s)), Woken::kReady); }
  void greet() {
    send(encode_request(PsHello{}));
    std::array<std::byte, kPsFrameBytes> done;
    ASSERT_EQ(wait_ready(socket_.get(), POLLIN, nullptr, Deadline::in(20s)), Woken::kReady);
    ASSERT_EQ(::recv(socket_.get(), done.data(), done.size(), 0), static_cast<ssize_t>(done.size()));
    ASSERT_EQ(parse_frame(done).kind, PsKind::kDone);
  }

 private:
  Descriptor socket_;
};

class PsServerTest : public testing::Test {
 protected:
  PsServerOptions options() const { return {.listen = {"unix:" + path_}}; }
  PsClientOptions client_options(const std::string& job = "job", const std::string& token = {}) const {
    return {.address = "unix:" + path_, .token = token, .job = job};
  }
  const std::string path_ = socket_path();
};

TEST_F(PsServerTest, ListensOnSeveralAddressesAtOnce) {
  const PsServer server({.listen = {"unix:" + path_, "tcp:127.0.0.1:0", "tcp:[::1]:0"}});
  ASSERT_EQ(server.addresses().size(), 3U);
  EXPECT_EQ(server.addresses()[0], "unix:" + path_);
  EXPECT_THAT(server.addresses()[1], AllOf(HasSubstr("tcp:127.0.0.1:"), testing::Not(testing::EndsWith(":0"))));
  PsClient first({.address = server.addresses()[0]});
  PsClient second({.address = server.addresses()[1]});
  PsClient third({.address = server.addresses()[2]});
  put(first, key(0), "hello");
  EXPECT_EQ(text_of(second, key(0)), "hello");
  EXPECT_EQ(text_of(third, key(0)), "hello");
}

TEST_F(PsServerTest, KeepsItsSocketForItsUserAndRemovesIt) {
  {
    const PsServer server(options());
    struct stat status {};
    ASSERT_EQ(::stat(path_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0600U);
    EXPECT_EQ(error_of([&] { const PsServer again(options()); })->kind(), ErrorKind::kConflict);
    EXPECT_TRUE(std::filesystem::exists(path_)) << "the second server has taken the socket of the first away";
  }
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(PsServerTest, ReplacesASocketThatWasLeftBehindButNoOtherFile) {
  write_file_atomically(path_, as_bytes("precious"));
  EXPECT_EQ(error_of([&] { const PsServer server(options()); })->kind(), ErrorKind::kConflict);
  EXPECT_EQ(as_text(read_file(path_)), "precious");
  std::filesystem::remove(path_);

  const auto elsewhere = path_ + "-moved";
  {
    const PsServer killed(options());
    std::filesystem::create_hard_link(path_, elsewhere);
  }
  std::filesystem::rename(elsewhere, path_);
  const PsServer server(options());
  PsClient(client_options()).ping(soon());
}

TEST_F(PsServerTest, RefusesOptionsThatCannotBe) {
  EXPECT_EQ(error_of([] { const PsServer server(PsServerOptions{}); })->kind(), ErrorKind::kUsage);
  const auto open = error_of([] { const PsServer server({.listen = {"tcp:0.0.0.0:0"}}); });
  EXPECT_EQ(open->kind(), ErrorKind::kUsage);
  EXPECT_THAT(open->what(), HasSubstr("there is no token"));
  for (const auto* address :
       {"", "unix:", "tcp:host", "tcp:127.0.0.1:x", "tcp:127.0.0.1:65536", "tcp:::1:80", "tcp::80", "http://x"}) {
    EXPECT_EQ(error_of([&] { const PsServer server({.listen = {address}}); })->kind(), ErrorKind::kUsage) << address;
  }
  EXPECT_EQ(error_of([&] { const PsServer server({.listen = {"unix:" + std::string(200, 'x')}}); })->kind(),
            ErrorKind::kUsage);
  const PsServer with_token({.listen = {"tcp:0.0.0.0:0"}, .token = "secret"});
}

TEST_F(PsServerTest, WantsItsToken) {
  const PsServer server({.listen = {"unix:" + path_}, .token = "secret"});
  PsClient(client_options("job", "secret")).ping(soon());
  for (const auto* token : {"", "Secret", "secre", "secrets", "secretsecret"}) {
    const auto error = error_of([&] { PsClient(client_options("job", token)).ping(soon()); });
    EXPECT_EQ(error->kind(), ErrorKind::kUnauthorized) << token;
    EXPECT_THAT(error->what(), HasSubstr(path_));
    EXPECT_THAT(error->what(), testing::Not(HasSubstr("secret")));
  }
}

TEST_F(PsServerTest, HidesJobsFromEachOther) {
  const PsServer server(options());
  PsClient mine(client_options("mine"));
  PsClient theirs(client_options("theirs"));
  put(mine, key(0), "mine");
  put(theirs, key(0), "theirs");
  mine.write_register("model", as_bytes("mine"), soon());
  EXPECT_EQ(text_of(mine, key(0)), "mine");
  EXPECT_EQ(text_of(theirs, key(0)), "theirs");
  EXPECT_EQ(theirs.read_register("model", soon()), std::nullopt) << "of another job";
  theirs.sweep(0xffffffff, soon());
  EXPECT_EQ(mine.contents(soon()), (PsStored{.messages = 1, .bytes = 4}));
  EXPECT_EQ(theirs.contents(soon()), PsStored());
}

TEST_F(PsServerTest, RefusesWhatDoesNotFitAndStoresNothingOfIt) {
  const PsServer server({.listen = {"unix:" + path_}, .memory_bytes = 100'000});
  PsClient client(client_options());
  const Bytes large(60'000);
  put(client, key(0), large);
  const ByteView small = as_bytes("small");
  const ByteView part = large;
  const std::vector<PsOutgoing> both = {{key(1), {&small, 1}}, {key(2), {&part, 1}}};
  const auto error = error_of([&] { client.put(both, soon()); });
  EXPECT_EQ(error->kind(), ErrorKind::kTooLarge);
  EXPECT_THAT(error->what(), AllOf(HasSubstr("the store is full"), HasSubstr("97.7 KiB")));
  EXPECT_THAT(error->remedy(), HasSubstr("--memory"));
  EXPECT_EQ(error_of([&] { client.write_register("model", large, soon()); })->kind(), ErrorKind::kTooLarge);
  EXPECT_EQ(client.contents(soon()).messages, 1U);
  client.retire({.view = 1, .source = 0, .round = 0}, soon());
  client.put(both, soon());
  EXPECT_EQ(client.contents(soon()).messages, 2U);
}

TEST_F(PsServerTest, GivesBackTheRoomOfAPutThatWasNeverFinished) {
  const PsServer server({.listen = {"unix:" + path_}, .memory_bytes = 100'000});
  PsClient client(client_options(""));
  {
    RawClient half(server);
    half.greet();
    half.send(encode_request(PsPut{{{key(0), 90'000}}}));
    half.send(Bytes(45'000));
    const auto is_full = [&] {
      try {
        put(client, key(1), Bytes(50'000));
        client.retire({.view = 1, .source = 1, .round = 0}, soon());
        return false;
      } catch (const Error& error) {
        return error.kind() == ErrorKind::kTooLarge;
      }
    };
    for (const auto end = Deadline::in(20s); !is_full() && !end.passed();) std::this_thread::yield();
    EXPECT_TRUE(is_full());
  }
  for (const auto end = Deadline::in(20s); !end.passed();) {
    try {
      put(client, key(1), Bytes(50'000));
      break;
    } catch (const Error& error) {
      ASSERT_EQ(error.kind(), ErrorKind::kTooLarge);
    }
  }
  EXPECT_EQ(client.contents(soon()), (PsStored{.messages = 1, .bytes = 50'000}));
}

TEST_F(PsServerTest, HandsOutManyMessagesOfAllSizes) {
  const PsServer server(options());
  PsClient client(client_options());
  std::vector<Bytes> bodies;
  std::vector<PsKey> keys;
  for (std::uint32_t i = 0; i < 300; ++i) {
    bodies.emplace_back((i * 7919) % 100'000, std::byte(i));
    keys.push_back(key(i));
  }
  bodies[17].assign(9 << 20, std::byte{3});
  std::vector<ByteView> views(bodies.begin(), bodies.end());
  std::vector<PsOutgoing> messages;
  for (std::size_t i = 0; i < keys.size(); ++i) messages.push_back({keys[i], {&views[i], 1}});
  client.put(messages, soon());
  std::size_t seen = 0;
  const auto missing = client.get(
      keys,
      [&](std::size_t index, const SharedBytes& bytes) {
        EXPECT_TRUE(std::ranges::equal(bytes.view(), bodies[index])) << index;
        ++seen;
      },
      soon());
  EXPECT_THAT(missing, testing::IsEmpty());
  EXPECT_EQ(seen, keys.size());
}

TEST_F(PsServerTest, SaysWhichKeysDidNotCome) {
  const PsServer server(options());
  PsClient client(client_options());
  put(client, key(1), "there");
  const std::vector<PsKey> keys = {key(0), key(1), key(2)};
  std::vector<std::size_t> came;
  const auto missing =
      client.get(keys, [&](std::size_t index, const SharedBytes&) { came.push_back(index); }, {Deadline::in(30ms)});
  EXPECT_THAT(came, ElementsAre(1));
  EXPECT_THAT(missing, ElementsAre(0, 2));
  EXPECT_THAT(client.get(keys, [](std::size_t, const SharedBytes&) {}, {Deadline::in(0s)}), ElementsAre(0, 2));
}

TEST_F(PsServerTest, ServesOneKeyAskedForTwice) {
  const PsServer server(options());
  PsClient client(client_options());
  std::jthread sender([&] {
    PsClient other(client_options());
    std::this_thread::sleep_for(10ms);
    put(other, key(0), "x");
  });
  const std::vector<PsKey> keys = {key(0), key(0)};
  int seen = 0;
  EXPECT_THAT(client.get(
                  keys, [&](std::size_t, const SharedBytes&) { ++seen; }, soon()),
              testing::IsEmpty());
  EXPECT_EQ(seen, 2);
}

TEST_F(PsServerTest, SplitsMoreKeysThanARequestHolds) {
  const PsServer server(options());
  PsClient client(client_options());
  constexpr std::uint32_t kCount = kPsMaxCount + 10;
  std::vector<PsKey> keys;
  std::vector<PsOutgoing> messages;
  for (std::uint32_t i = 0; i < kCount; ++i) {
    keys.push_back(key(i));
    messages.push_back({keys.back(), {}});
  }
  client.put(messages, soon());
  EXPECT_EQ(client.contents(soon()).messages, kCount);
  std::size_t seen = 0;
  EXPECT_THAT(client.get(
                  keys, [&](std::size_t, const SharedBytes&) { ++seen; }, soon()),
              testing::IsEmpty());
  EXPECT_EQ(seen, kCount);
}

TEST_F(PsServerTest, NamesAServerThatIsNotThere) {
  for (const auto& address : {"unix:" + path_, std::string("tcp:127.0.0.1:1")}) {
    const auto error = error_of([&] { PsClient({.address = address}).ping(soon()); });
    EXPECT_EQ(error->kind(), ErrorKind::kUnavailable);
    EXPECT_THAT(error->what(), HasSubstr(address));
    EXPECT_FALSE(error->remedy().empty());
  }
}

TEST_F(PsServerTest, TellsThoseWhoWaitThatItEnds) {
  auto server = std::make_unique<PsServer>(options());
  PsClient watcher(client_options());
  std::atomic<int> lost = 0;
  std::vector<std::jthread> waiters;
  for (std::uint32_t i = 0; i < 3; ++i) {
    waiters.emplace_back([&, i] {
      PsClient client(client_options());
      put(client, key(i), "I wait");
      const auto error = error_of([&] {
        if (i == 0) {
          static_cast<void>(client.wait_register("never", 0, {Deadline::in(10min)}));
        } else {
          static_cast<void>(text_of(client, key(99), {Deadline::in(10min)}));
        }
      });
      EXPECT_EQ(error->kind(), ErrorKind::kUnavailable);
      ++lost;
    });
  }
  for (std::uint32_t i = 0; i < 3; ++i) EXPECT_EQ(text_of(watcher, key(i)), "I wait");
  server.reset();
  waiters.clear();
  EXPECT_EQ(lost, 3);
}

TEST_F(PsServerTest, IsFoundAgainAfterARestart) {
  auto server = std::make_unique<PsServer>(options());
  PsClient client(client_options());
  put(client, key(0), "old");
  EXPECT_EQ(client.write_register("model", as_bytes("old"), soon()), 1U);
  server.reset();
  EXPECT_EQ(error_of([&] { client.ping(soon()); })->kind(), ErrorKind::kUnavailable);
  server = std::make_unique<PsServer>(options());
  client.ping(soon());
  server.reset();
  server = std::make_unique<PsServer>(options());
  EXPECT_EQ(client.write_register("model", as_bytes("new"), soon()), 1U) << "nothing outlives the server";
  EXPECT_EQ(text_of(client, key(0), {Deadline::in(0s)}), "missing");
}

TEST_F(PsServerTest, ServesTwoHundredConnectionsAtOnce) {
  const PsServer server(options());
  std::vector<std::unique_ptr<PsClient>> clients;
  for (int i = 0; i < 200; ++i) {
    clients.push_back(std::make_unique<PsClient>(client_options()));
    clients.back()->ping(soon());
  }
  run_threads(8, [&](unsigned me) {
    for (std::size_t i = me; i < clients.size(); i += 8) put(*clients[i], key(static_cast<std::uint32_t>(i)), "m");
  });
  run_threads(8, [&](unsigned me) {
    for (std::size_t i = me; i < clients.size(); i += 8) {
      EXPECT_EQ(text_of(*clients[i], key(static_cast<std::uint32_t>((i + 1) % clients.size()))), "m");
    }
  });
}

TEST_F(PsServerTest, RefusesMoreConnectionsThanItsLimitUntilOneEnds) {
  const PsServer server({.listen = {"unix:" + path_}, .max_connections = 3});
  std::vector<std::unique_ptr<PsClient>> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(std::make_unique<PsClient>(client_options()));
    clients.back()->ping(soon());
  }
  const auto error = error_of([&] { PsClient(client_options()).ping(soon()); });
  EXPECT_EQ(error->kind(), ErrorKind::kThrottled);
  EXPECT_THAT(error->what(), HasSubstr("3 connections"));
  // As many as wait to be refused, and more: none is forgotten.
  std::vector<std::unique_ptr<RawClient>> silent;
  silent.reserve(40);
  for (int i = 0; i < 40; ++i) silent.push_back(std::make_unique<RawClient>(server));
  clients.clear();
  silent.clear();
  for (const auto end = Deadline::in(20s); !end.passed();) {
    try {
      PsClient(client_options()).ping(soon());
      return;
    } catch (const Error& again) {
      ASSERT_EQ(again.kind(), ErrorKind::kThrottled);
    }
  }
  FAIL() << "connections are refused for good";
}

TEST_F(PsServerTest, OutlivesClientsThatGoInTheMiddleOfARequest) {
  const PsServer server(options());
  PsClient client(client_options(""));
  const auto request = encode_request(PsPut{{{key(0), 100'000}}});
  for (std::size_t size = 0; size <= request.size(); size += 3) {
    RawClient half(server);
    half.greet();
    half.send(ByteView(request).first(size));
  }
  {
    RawClient half(server);
    half.greet();
    half.send(request);
    half.send(Bytes(70'000));
  }
  {
    RawClient waits(server);
    waits.greet();
    waits.send(encode_request(PsGet{.wait_ms = 1'000'000, .keys = {key(0), key(1)}}));
  }
  {
    RawClient waits(server);
    waits.greet();
    waits.send(encode_request(PsWaitRegister{.wait_ms = 1'000'000, .version = 0, .name = "model"}));
  }
  put(client, key(0), "whole");
  client.write_register("model", as_bytes("m"), soon());
  EXPECT_EQ(text_of(client, key(0)), "whole");
}

TEST_F(PsServerTest, EndsConnectionsThatBreakTheProtocol) {
  const PsServer server(options());
  const auto reply_to = [&](ByteView bytes, bool greet) {
    RawClient client(server);
    if (greet) client.greet();
    client.send(bytes);
    const auto all = client.read_to_end();
    if (all.size() < kPsFrameBytes) return std::string("nothing");
    const auto frame = parse_frame(all);
    const auto reply = parse_reply(frame, ByteView(all).subspan(kPsFrameBytes, frame.head_bytes));
    const auto* error = std::get_if<PsError>(&reply);
    return error != nullptr ? error->what : std::string("no error");
  };
  EXPECT_THAT(reply_to(as_bytes("GET / HTTP/1.1\r\n\r\n"), false), HasSubstr("no virga-ps protocol"));
  EXPECT_THAT(reply_to(encode_request(PsPing()), false), HasSubstr("is a hello"));
  EXPECT_THAT(reply_to(encode_request(PsHello()), true), HasSubstr("is a hello"));
  EXPECT_THAT(reply_to(encode_reply(PsDone()), true), HasSubstr("no request"));
  auto version = encode_request(PsHello());
  version[kPsFrameBytes + 4] = std::byte{9};
  EXPECT_THAT(reply_to(version, false), HasSubstr("version 9"));
  auto eager = encode_request(PsGet{.wait_ms = 1'000'000, .keys = {key(0)}});
  const auto ping = encode_request(PsPing());
  eager.insert(eager.end(), ping.begin(), ping.end());
  EXPECT_THAT(reply_to(eager, true), HasSubstr("before the last one was answered"));
}

TEST_F(PsServerTest, DoesNotTakeOneForStallingThatHasPutAndWaits) {
  const PsServer server({.listen = {"unix:" + path_}, .stall_timeout = 100ms});
  PsClient client(client_options(""));
  const auto bytes = as_bytes("put");
  const PsOutgoing message{key(0), {&bytes, 1}};
  const auto awaited = key(1);
  const auto missing = client.put_and_get({&message, 1}, {&awaited, 1},
                                          [](std::size_t, const SharedBytes&) { ADD_FAILURE() << "a message came"; },
                                          {Deadline::in(500ms)});
  EXPECT_THAT(missing, ElementsAre(0));
}

TEST_F(PsServerTest, CutsOffClientsThatStall) {
  const PsServer server({.listen = {"unix:" + path_}, .stall_timeout = 400ms});
  RawClient silent(server);
  EXPECT_THAT(silent.read_to_end(), testing::IsEmpty());
  RawClient half(server);
  half.greet();
  half.send(encode_request(PsPut{{{key(0), 100}}}));
  EXPECT_THAT(half.read_to_end(), testing::IsEmpty());

  // One that asks for more than its socket holds and takes none of it.
  PsClient client(client_options(""));
  put(client, key(1), Bytes(8 << 20));
  RawClient deaf(server);
  deaf.greet();
  deaf.send(encode_request(PsGet{.wait_ms = 1000, .keys = {key(1)}}));
  deaf.wait_for_the_end();
  EXPECT_LT(deaf.read_to_end().size(), std::size_t{8} << 20);

  // One that waits for others does not stall.
  std::jthread sender([&] {
    std::this_thread::sleep_for(800ms);
    put(client, key(2), "late");
  });
  PsClient patient(client_options(""));
  EXPECT_EQ(text_of(patient, key(2)), "late");
}

TEST_F(PsServerTest, IsNotHeldUpByAClientThatDoesNotRead) {
  const PsServer server(options());
  PsClient client(client_options(""));
  put(client, key(1), Bytes(8 << 20));
  RawClient deaf(server);
  deaf.greet();
  deaf.send(encode_request(PsGet{.wait_ms = 1'000'000, .keys = {key(1), key(2)}}));
  put(client, key(2), "x");
  EXPECT_EQ(text_of(client, key(2)), "x");
}

TEST_F(PsServerTest, GivesAWaitAndAPutOfOneClientTheirOwnConnections) {
  const PsServer server(options());
  PsClient client(client_options());
  run_threads(4, [&](unsigned me) {
    for (std::uint64_t round = 0; round < 20; ++round) {
      if (me % 2 == 0) {
        EXPECT_EQ(text_of(client, key(me + 1, round)), "m");
        put(client, key(me, round), "m");
      } else {
        put(client, key(me, round), "m");
        EXPECT_EQ(text_of(client, key(me - 1, round)), "m");
      }
    }
  });
}

TEST_F(PsServerTest, LetsAConnectionGoWhenItsReceiverThrows) {
  const PsServer server(options());
  PsClient client(client_options());
  const std::vector<PsKey> keys = {key(0), key(1)};
  for (const auto& one : keys) put(client, one, Bytes(1 << 20));
  for (int i = 0; i < 3; ++i) {
    EXPECT_THROW(static_cast<void>(client.get(
                     keys, [](std::size_t, const SharedBytes&) { throw std::runtime_error("no"); }, soon())),
                 std::runtime_error);
    const auto lost = [](std::size_t, const SharedBytes&) { throw Error(ErrorKind::kUnavailable, "mine"); };
    EXPECT_STREQ(error_of([&] { static_cast<void>(client.get(keys, lost, soon())); })->what(), "mine");
  }
  client.ping(soon());
}

/// The program, with its standard output at hand.
class Program {
 public:
  explicit Program(std::vector<std::string> arguments) {
    const auto* folder = std::getenv("VIRGA_BIN_DIR");  // NOLINT(concurrency-mt-unsafe): nobody sets it
    arguments.insert(arguments.begin(), (folder != nullptr ? std::string(folder) : std::string("bin")) + "/virga-ps");
    std::vector<char*> pointers;
    pointers.reserve(arguments.size() + 1);
    for (auto& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    std::array<int, 2> pipe{};
    check(::pipe(pipe.data()) == 0, "a pipe can be made");
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, pipe[1], STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, pipe[1], STDERR_FILENO);
    ::posix_spawn_file_actions_addclose(&actions, pipe[0]);
    const int error = ::posix_spawn(&process_, pointers[0], &actions, nullptr, pointers.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    check(error == 0, "virga-ps can be started");
    ::close(pipe[1]);
    output_ = Descriptor(pipe[0]);
  }
  std::string line() const {
    std::string text;
    for (char c = 0; c != '\n' && ::read(output_.get(), &c, 1) == 1;) text += c;
    return text;
  }
  std::string all() const {
    std::string text;
    for (char c = 0; ::read(output_.get(), &c, 1) == 1;) text += c;
    return text;
  }
  void signal(int number) const { ::kill(process_, number); }
  int exit_code() const {
    int status = 0;
    ::waitpid(process_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t process_ = -1;
  Descriptor output_;
};

TEST_F(PsServerTest, RunsAsAProgramUntilItIsAskedToEnd) {
  const auto token_file = path_ + "-token";
  write_file_atomically(token_file, as_bytes("secret\n"));
  for (const int number : {SIGTERM, SIGINT}) {
    const Program program(
        {"--listen", "unix:" + path_, "--listen=tcp:127.0.0.1:0", "--token-file", token_file, "--memory", "16MiB"});
    EXPECT_THAT(program.line(),
                testing::MatchesRegex("virga-ps listens on unix:" + path_ + ", tcp:127.0.0.1:[0-9]+\n"));
    PsClient client(client_options("job", "secret"));
    put(client, key(0), "hello");
    EXPECT_EQ(text_of(client, key(0)), "hello");
    program.signal(number);
    EXPECT_EQ(program.exit_code(), 0);
    EXPECT_FALSE(std::filesystem::exists(path_));
  }
  std::filesystem::remove(token_file);
}

TEST_F(PsServerTest, TeachesAndRefusesAsAProgram) {
  const auto empty_file = path_ + "-empty";
  write_file_atomically(empty_file, as_bytes("\n"));
  const Program help({"--help"});
  EXPECT_THAT(help.all(), AllOf(HasSubstr("Usage: virga-ps"), HasSubstr("--token-file")));
  EXPECT_EQ(help.exit_code(), 0);
  const std::vector<std::pair<std::vector<std::string>, std::string>> refused = {
      {{"--lisen", "x"}, "did you mean --listen?"},
      {{"--listen"}, "needs a value"},
      {{"--listen", "7077"}, "not an address"},
      {{"--listen", "tcp:0.0.0.0:0"}, "give a token"},
      {{"--memory", "100000000000GiB"}, "--memory"},
      {{"--max-connections", "0"}, "whole number"},
      {{"--token-file", empty_file}, "which is the token"}};
  for (const auto& [arguments, text] : refused) {
    const Program program(arguments);
    EXPECT_THAT(program.all(), AllOf(HasSubstr("virga-ps: error: "), HasSubstr(text)));
    EXPECT_EQ(program.exit_code(), 2) << arguments[0];
  }
  std::filesystem::remove(empty_file);
}

}  // namespace
}  // namespace virga
