// What every Channel does, whatever it is made of. A new one is a line at the end.
#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <numeric>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/base/threads.h"
#include "virga/channel/chunked_channel.h"
#include "virga/channel/contract_testing.h"
#include "virga/channel/direct_channel.h"
#include "virga/channel/directory_channel.h"
#include "virga/channel/directory_register.h"
#include "virga/channel/dynamo_bin.h"
#include "virga/channel/dynamodb_testing.h"
#include "virga/channel/emulated_channel.h"
#include "virga/channel/memcached_bin.h"
#include "virga/channel/memcached_testing.h"
#include "virga/channel/memory_bin_testing.h"
#include "virga/channel/memory_channel.h"
#include "virga/channel/metered_channel.h"
#include "virga/channel/polled_channel.h"
#include "virga/channel/ps_channel.h"
#include "virga/channel/redis_channel.h"
#include "virga/channel/redis_testing.h"
#include "virga/channel/retrying_channel.h"
#include "virga/channel/s3_bin.h"
#include "virga/channel/shaped_channel.h"
#include "virga/channel/temporary_folder_testing.h"
#include "virga/ps/server.h"
#include "virga/storage/swift_testing.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

Wait soon() { return {Deadline::in(20s)}; }
Wait at_once() { return {Deadline::in(0s)}; }

MessageKey key(std::uint32_t source, std::uint64_t round, std::uint32_t destination = 0) {
  return {.view = 1, .source = source, .round = round, .destination = destination};
}

class ChannelContract : public testing::TestWithParam<ChannelCase> {
 protected:
  void put(Channel& channel, const MessageKey& where, std::string_view text) {
    const ByteView part = as_bytes(text);
    channel.put(std::vector<Outgoing>{{where, {&part, 1}}}, soon());
  }
  void put(const MessageKey& where, std::string_view text) { put(channel(), where, text); }
  std::map<MessageKey, std::string> get(Channel& channel, const std::vector<MessageKey>& keys) {
    std::map<MessageKey, std::string> found;
    channel.get(
        keys,
        [&](const MessageKey& at, const SharedBytes& bytes) {
          EXPECT_FALSE(found.contains(at));
          found[at] = as_text(bytes.view());
        },
        soon());
    return found;
  }
  std::map<MessageKey, std::string> get(const std::vector<MessageKey>& keys) { return get(channel(), keys); }
  bool has(const MessageKey& at) { return channel().try_get(at, soon()).has_value(); }

  Channel& channel() { return *channels_->first; }
  /// The same messages, seen from another worker.
  Channel& other() { return *channels_->second; }

 private:
  std::unique_ptr<ChannelPair> channels_ = GetParam().make();
};

template <typename Call>
ErrorKind kind_of_error(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.kind();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorKind::kInternal;
}

TEST_P(ChannelContract, FindsWhatWasPut) {
  put(key(0, 1), "hello");
  EXPECT_EQ(get({key(0, 1)}).at(key(0, 1)), "hello");
  EXPECT_EQ(get(other(), {key(0, 1)}).at(key(0, 1)), "hello");
  EXPECT_EQ(as_text(other().try_get(key(0, 1), soon())->view()), "hello");
  EXPECT_FALSE(has(key(0, 2)));
}

TEST_P(ChannelContract, TellsKeysApartByEachOfTheirParts) {
  const MessageKey base{.view = 1, .group = 2, .source = 3, .round = 4, .phase = 5, .destination = 6, .part = 7};
  std::vector<MessageKey> keys(8, base);
  keys[1].view = 9;
  keys[2].group = 9;
  keys[3].source = 9;
  keys[4].round = std::uint64_t{1} << 40;
  keys[5].phase = 9;
  keys[6].destination = kEverybody;
  keys[7].part = 9;
  for (std::size_t i = 0; i < keys.size(); ++i) put(keys[i], "message " + std::to_string(i));
  const auto found = get(keys);
  for (std::size_t i = 0; i < keys.size(); ++i) EXPECT_EQ(found.at(keys[i]), "message " + std::to_string(i));
}

TEST_P(ChannelContract, JoinsThePartsOfAMessage) {
  const std::vector<ByteView> parts = {as_bytes("one "), {}, as_bytes("two "), as_bytes("three")};
  channel().put(std::vector<Outgoing>{{key(0, 0), parts}, {key(0, 1), {}}}, soon());
  const auto found = get({key(0, 0), key(0, 1)});
  EXPECT_EQ(found.at(key(0, 0)), "one two three");
  EXPECT_EQ(found.at(key(0, 1)), "");
}

TEST_P(ChannelContract, TakesTheSameMessageTwice) {
  put(key(0, 0), "same");
  put(other(), key(0, 0), "same");
  EXPECT_EQ(get({key(0, 0)}).size(), 1U);
  EXPECT_EQ(channel().contents(soon()), (ChannelContents{.messages = 1, .bytes = 4}));
}

TEST_P(ChannelContract, RefusesOtherBytesUnderATakenKey) {
  put(key(0, 0), "first");
  EXPECT_EQ(kind_of_error([&] { put(key(0, 0), "other"); }), ErrorKind::kConflict);
  EXPECT_EQ(kind_of_error([&] { put(key(0, 0), "firs"); }), ErrorKind::kConflict);
  EXPECT_EQ(get({key(0, 0)}).at(key(0, 0)), "first");
}

TEST_P(ChannelContract, WaitsForMessagesAndHandsThemOverAsTheyCome) {
  std::vector<MessageKey> keys;
  for (std::uint32_t i = 0; i < 20; ++i) keys.push_back(key(i, 3));
  std::atomic<int> seen = 0;
  std::jthread sender([&] {
    for (std::uint32_t i = 0; i < keys.size(); ++i) {
      // The first ones are handed over while the last one is still to be put.
      if (i + 1 == keys.size()) {
        while (seen == 0) std::this_thread::yield();
      }
      put(other(), keys[i], std::to_string(i));
    }
  });
  channel().get(
      keys,
      [&](const MessageKey& at, const SharedBytes& bytes) {
        EXPECT_EQ(as_text(bytes.view()), std::to_string(at.source));
        ++seen;
      },
      soon());
  EXPECT_EQ(seen, 20);
}

TEST_P(ChannelContract, PutsAndThenWaitsInOneCall) {
  const auto bytes = as_bytes("from one");
  const Outgoing message{key(0, 0), {&bytes, 1}};
  std::map<MessageKey, std::string> found;
  std::jthread one([&] {
    channel().put_and_get(
        {&message, 1}, std::vector{key(0, 1)},
        [&](const MessageKey& at, const SharedBytes& got) { found[at] = as_text(got.view()); }, soon());
  });
  EXPECT_EQ(get(other(), {key(0, 0)}).at(key(0, 0)), "from one");
  put(other(), key(0, 1), "from the other");
  one.join();
  EXPECT_EQ(found.at(key(0, 1)), "from the other");
}

TEST_P(ChannelContract, WaitsForNothingWhenThePutOfTheSameCallFails) {
  put(key(0, 0), "first");
  const auto bytes = as_bytes("other");
  const Outgoing message{key(0, 0), {&bytes, 1}};
  const auto nothing = [](const MessageKey&, const SharedBytes&) { ADD_FAILURE() << "a message came"; };
  EXPECT_EQ(kind_of_error([&] {
              channel().put_and_get({&message, 1}, std::vector{key(0, 1)}, nothing, soon());
            }),
            ErrorKind::kConflict);
  put(key(0, 1), "later");
  EXPECT_EQ(get({key(0, 1)}).at(key(0, 1)), "later") << "the channel is out of step";
}

TEST_P(ChannelContract, EndsAWaitAtItsDeadlineAndNamesWhatIsMissing) {
  put(key(0, 7), "there");
  std::string said;
  // On a busy machine what is there may take longer, too.
  for (auto time = 50ms; time < 10s && said.find("1 message ") == std::string::npos; time *= 4) {
    try {
      channel().get(std::vector{key(0, 7), key(5, 7)}, [](const auto&, const auto&) {}, {Deadline::in(time)});
      FAIL() << "came without being put";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kDeadlineExceeded);
      said = error.what();
    }
  }
  EXPECT_THAT(said, HasSubstr("1 message "));
  EXPECT_THAT(said, HasSubstr("round 7, phase 0, from 5 to 0"));
  EXPECT_EQ(kind_of_error([&] {
              channel().get(
                  std::vector{key(9, 9)}, [](const auto&, const auto&) {}, at_once());
            }),
            ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(get({key(0, 7)}).size(), 1U) << "the channel works on";
}

TEST_P(ChannelContract, EndsAWaitWhenAskedTo) {
  std::stop_source stop;
  std::jthread stopper([&] {
    std::this_thread::sleep_for(20ms);
    stop.request_stop();
  });
  EXPECT_EQ(
      kind_of_error([&] {
        channel().get(std::vector{key(9, 9)}, [](const auto&, const auto&) {}, {Deadline::in(20s), stop.get_token()});
      }),
      ErrorKind::kInterrupted);
  put(key(9, 9), "late");
  EXPECT_EQ(get({key(9, 9)}).size(), 1U) << "the channel works on";
}

TEST_P(ChannelContract, HandsOnWhatAReceiverThrows) {
  put(key(0, 0), "x");
  put(key(1, 0), "y");
  const auto refuse = [](const MessageKey&, const SharedBytes&) { throw Error(ErrorKind::kCorrupt, "not mine"); };
  EXPECT_EQ(kind_of_error([&] {
              channel().get(std::vector{key(0, 0), key(1, 0)}, refuse, soon());
            }),
            ErrorKind::kCorrupt);
  EXPECT_EQ(get({key(0, 0), key(1, 0)}).size(), 2U) << "the channel works on";
}

TEST_P(ChannelContract, RetiresTheRoundsOfOneSource) {
  for (const std::uint32_t source : {0U, 1U}) {
    for (const std::uint64_t round : {4U, 5U, 6U}) put(key(source, round), "m");
  }
  auto elsewhere = key(0, 4);
  elsewhere.group = 1;
  put(elsewhere, "m");
  elsewhere.group = 0;
  elsewhere.view = 2;
  put(elsewhere, "m");
  put({.view = 1, .source = 0, .round = 5, .phase = 3, .destination = 8, .part = 2}, "m");
  channel().retire(1, 0, 0, 5, soon());
  channel().retire(1, 0, 0, 5, soon());
  EXPECT_FALSE(has(key(0, 4)));
  EXPECT_FALSE(has(key(0, 5)));
  EXPECT_TRUE(has(key(0, 6)));
  EXPECT_TRUE(has(key(1, 4)));
  EXPECT_TRUE(has(elsewhere));
  EXPECT_EQ(channel().contents(soon()).messages, 6U);
}

TEST_P(ChannelContract, SweepsViewsThatAreOver) {
  for (const std::uint32_t view : {1U, 2U, 3U}) put({.view = view, .source = view, .round = 9}, "m");
  channel().sweep(3, soon());
  channel().sweep(3, soon());
  EXPECT_EQ(channel().contents(soon()).messages, 1U);
  EXPECT_TRUE(has({.view = 3, .source = 3, .round = 9}));
  channel().sweep(kEverybody, soon());
  EXPECT_EQ(channel().contents(soon()), ChannelContents());
}

TEST_P(ChannelContract, CarriesLargeMessages) {
  std::vector<std::uint32_t> numbers((std::size_t{5} << 20) / 4 + 1);
  std::iota(numbers.begin(), numbers.end(), 7U);
  const ByteView part = std::as_bytes(std::span(numbers));
  ASSERT_LE(part.size(), channel().max_message_bytes());
  channel().put(std::vector<Outgoing>{{key(0, 0), {&part, 1}}, {key(1, 0), {&part, 1}}}, soon());
  int seen = 0;
  other().get(
      std::vector{key(0, 0), key(1, 0)},
      [&](const MessageKey&, const SharedBytes& bytes) {
        EXPECT_TRUE(std::ranges::equal(bytes.view(), part));
        ++seen;
      },
      soon());
  EXPECT_EQ(seen, 2);
}

TEST_P(ChannelContract, ServesManyThreadsAtOnce) {
  constexpr std::uint32_t kThreads = 6;
  const std::uint64_t rounds = GetParam().is_slow ? 5 : 30;
  run_threads(kThreads, [&](unsigned me) {
    auto& mine = me % 2 == 0 ? channel() : other();
    for (std::uint64_t round = 0; round < rounds; ++round) {
      const auto text = std::to_string(me) + "/" + std::to_string(round);
      put(mine, key(me, round, kEverybody), text);
      std::vector<MessageKey> keys;
      for (std::uint32_t from = 0; from < kThreads; ++from) keys.push_back(key(from, round, kEverybody));
      const auto found = get(mine, keys);
      for (const auto& [at, bytes] : found) EXPECT_EQ(bytes, std::to_string(at.source) + "/" + std::to_string(round));
      if (round > 1) mine.retire(1, 0, me, round - 2, soon());
    }
  });
  EXPECT_EQ(channel().contents(soon()).messages, 2 * kThreads);
}

/// A channel in memory, shared by both ends.
class MemoryPair final : public ChannelPair {
 public:
  MemoryPair() { first = second = std::make_shared<MemoryChannel>(); }
};

INSTANTIATE_TEST_SUITE_P(Memory, ChannelContract,
                         testing::Values(ChannelCase{"memory", [] { return std::make_unique<MemoryPair>(); }}),
                         name_of_case<ChannelCase>);

/// Two channels on one folder, as two processes have them.
class DirectoryPair final : public ChannelPair {
 public:
  DirectoryPair() {
    first = std::make_shared<DirectoryChannel>(folder_.path());
    second = std::make_shared<DirectoryChannel>(folder_.path());
  }

 private:
  const TemporaryFolder folder_;
};

INSTANTIATE_TEST_SUITE_P(Directory, ChannelContract,
                         testing::Values(ChannelCase{"directory", [] { return std::make_unique<DirectoryPair>(); }}),
                         name_of_case<ChannelCase>);

/// Two channels that poll a bin.
class PolledPair final : public ChannelPair {
 public:
  PolledPair() {
    const auto shared = std::make_shared<MemoryBin::Shared>();
    first = std::make_shared<PolledChannel>(std::make_shared<MemoryBin>(shared));
    second = std::make_shared<PolledChannel>(std::make_shared<MemoryBin>(shared));
  }
};

INSTANTIATE_TEST_SUITE_P(Polled, ChannelContract,
                         testing::Values(ChannelCase{"bin", [] { return std::make_unique<PolledPair>(); }}),
                         name_of_case<ChannelCase>);

/// Makes a decorator, as each end has its own.
using Decorate = std::function<std::shared_ptr<Channel>(Channel& inner)>;

/// A store with decorators around each of its ends, from the innermost.
class DecoratedPair final : public ChannelPair {
 public:
  DecoratedPair(std::unique_ptr<ChannelPair> store, const std::vector<Decorate>& decorators)
      : store_(std::move(store)) {
    first = store_->first;
    second = store_->second;
    for (const auto& decorate : decorators) {
      for (auto* end : {&first, &second}) {
        inner_.push_back(*end);
        *end = decorate(**end);
      }
    }
  }
  ~DecoratedPair() override {
    first.reset();
    second.reset();
    while (!inner_.empty()) inner_.pop_back();
  }

 private:
  const std::unique_ptr<ChannelPair> store_;
  std::vector<std::shared_ptr<Channel>> inner_;  // what the decorators borrow
};

std::unique_ptr<ChannelPair> small_messages_in_memory() {
  auto pair = std::make_unique<MemoryPair>();
  pair->first = pair->second = std::make_shared<MemoryChannel>(/*max_message_bytes=*/1000);
  return pair;
}

std::unique_ptr<ChannelPair> small_messages_in_directory() {
  class SmallPair final : public ChannelPair {
   public:
    SmallPair() {
      first = std::make_shared<DirectoryChannel>(folder_.path(), /*max_message_bytes=*/100'000);
      second = std::make_shared<DirectoryChannel>(folder_.path(), /*max_message_bytes=*/100'000);
    }

   private:
    const TemporaryFolder folder_;
  };
  return std::make_unique<SmallPair>();
}

std::shared_ptr<Channel> metered(Channel& inner) { return std::make_shared<MeteredChannel>(inner); }
std::shared_ptr<Channel> chunked(Channel& inner) { return std::make_shared<ChunkedChannel>(inner); }
std::shared_ptr<Channel> retrying(Channel& inner) {
  return std::make_shared<RetryingChannel>(inner,
                                           RetryOptions{.attempts = 30, .first_pause = 20us, .longest_pause = 1ms});
}
std::shared_ptr<Channel> slow(Channel& inner) {
  return std::make_shared<ShapedChannel>(
      inner, Shape{.latency = 200us, .jitter = 100us, .bytes_per_second = std::uint64_t{1} << 30});
}
std::shared_ptr<Channel> as_polled_service(Channel& inner) {
  return std::make_shared<EmulatedChannel>(inner, ServiceProfile{"test", "", 200us, 1e9, true});
}
std::shared_ptr<Channel> as_telling_service(Channel& inner) {
  return std::make_shared<EmulatedChannel>(inner, ServiceProfile{"test", "", 200us, 1e9, false});
}
std::shared_ptr<Channel> as_network(Channel& inner) {
  return std::make_shared<EmulatedChannel>(inner, ServiceProfile{"test", "", 200us, 1e9, false, {}, true});
}
std::shared_ptr<Channel> refusing(Channel& inner) {
  const Faults faults{.throttled = 0.15, .cut_off = 0.15, .doubled = 0.1, .get_cut_off = 0.2};
  return std::make_shared<ShapedChannel>(inner, Shape{.faults = faults, .seed = 7});
}

ChannelCase decorated(const std::string& name, const std::function<std::unique_ptr<ChannelPair>()>& store,
                      const std::vector<Decorate>& decorators) {
  return {name, [=] { return std::make_unique<DecoratedPair>(store(), decorators); }};
}

std::unique_ptr<ChannelPair> memory() { return std::make_unique<MemoryPair>(); }

INSTANTIATE_TEST_SUITE_P(Decorated, ChannelContract,
                         testing::Values(decorated("metered_memory", memory, {metered}),
                                         decorated("chunked_memory", small_messages_in_memory, {chunked}),
                                         decorated("retrying_refusing_memory", memory, {refusing, retrying}),
                                         decorated("slow_memory", memory, {slow}),
                                         decorated("polled_service_memory", memory, {as_polled_service}),
                                         decorated("telling_service_memory", memory, {as_telling_service}),
                                         decorated("network_memory", memory, {as_network}),
                                         decorated("metered_retrying_chunked_directory", small_messages_in_directory,
                                                   {chunked, retrying, metered})),
                         name_of_case<ChannelCase>);

/// A data store of this process, and two clients.
class PsPair final : public ChannelPair {
 public:
  explicit PsPair(const std::string& address) : server_({.listen = {address}}) {
    first = client();
    second = client();
  }

 private:
  [[nodiscard]] std::shared_ptr<Channel> client() const {
    const PsClientOptions options = {.address = server_.addresses()[0], .token = {}, .job = "contract"};
    return std::make_shared<PsChannel>(std::make_shared<PsClient>(options));
  }
  PsServer server_;
};

/// Servers of tests that run at the same time listen at different paths.
std::string unix_address() {
  static std::atomic<int> count = 0;
  return "unix:" + testing::TempDir() + "virga-channel-" + std::to_string(::getpid()) + "-" + std::to_string(++count);
}

INSTANTIATE_TEST_SUITE_P(
    Ps, ChannelContract,
    testing::Values(ChannelCase{"ps_unix", [] { return std::make_unique<PsPair>(unix_address()); }},
                    ChannelCase{"ps_tcp", [] { return std::make_unique<PsPair>("tcp:127.0.0.1:0"); }}),
    name_of_case<ChannelCase>);

/// A Redis server for all cases of its kind, each of which is a job of its own, and two clients.
class RedisPair final : public ChannelPair {
 public:
  explicit RedisPair(RedisServer::Listens listens) {
    static const RedisServer servers[] = {RedisServer(RedisServer::Listens::kUnix),
                                          RedisServer(RedisServer::Listens::kTcp),
                                          RedisServer(RedisServer::Listens::kTls)};
    static std::atomic<int> jobs = 0;
    const auto& server = servers[static_cast<std::size_t>(listens)];
    const auto job = "contract-" + std::to_string(++jobs);
    first = std::make_shared<RedisChannel>(server.client(), job);
    second = std::make_shared<RedisChannel>(server.client(), job);
  }
};

INSTANTIATE_TEST_SUITE_P(
    Redis, ChannelContract,
    testing::Values(ChannelCase{"redis_unix", [] { return std::make_unique<RedisPair>(RedisServer::Listens::kUnix); }},
                    ChannelCase{"redis_tcp", [] { return std::make_unique<RedisPair>(RedisServer::Listens::kTcp); }},
                    ChannelCase{"redis_tls", [] { return std::make_unique<RedisPair>(RedisServer::Listens::kTls); }}),
    name_of_case<ChannelCase>);

/// A Memcached, and two clients.
class MemcachedPair final : public ChannelPair {
 public:
  MemcachedPair() {
    for (auto* end : {&first, &second}) {
      auto client = std::make_shared<MemcachedClient>(service_.uri(), "");
      *end = std::make_shared<PolledChannel>(std::make_shared<MemcachedBin>(std::move(client), "contract"));
    }
  }

 private:
  MemcachedService service_;
};

INSTANTIATE_TEST_SUITE_P(Memcached, ChannelContract,
                         testing::Values(ChannelCase{"memcached", [] { return std::make_unique<MemcachedPair>(); }}),
                         name_of_case<ChannelCase>);

/// A table of one dynalite, and two clients; each test has a job of its own.
class DynamoPair final : public ChannelPair {
 public:
  explicit DynamoPair(DynamoService::Speaks speaks) {
    static const DynamoService plain;
    static const DynamoService secure("virga-test", DynamoService::Speaks::kHttps);
    const auto& service = speaks == DynamoService::Speaks::kHttps ? secure : plain;
    static int jobs = 0;
    const auto job = "contract-" + std::to_string(++jobs);
    for (auto* end : {&first, &second}) {
      *end = std::make_shared<PolledChannel>(std::make_shared<DynamoBin>(service.calls(), job));
    }
  }
};

INSTANTIATE_TEST_SUITE_P(
    Dynamo, ChannelContract,
    testing::Values(ChannelCase{"dynamodb", [] { return std::make_unique<DynamoPair>(DynamoService::Speaks::kHttp); }},
                    ChannelCase{"dynamodb_tls",
                                [] { return std::make_unique<DynamoPair>(DynamoService::Speaks::kHttps); }}),
    name_of_case<ChannelCase>);

/// Two workers of each view, who talk straight to each other.
class DirectPair final : public ChannelPair {
 public:
  DirectPair() : registers_(folder_.path()) {
    first = worker(0);
    second = worker(1);
  }
  ~DirectPair() override {
    for (auto* end : {&first, &second}) end->reset();  // they use registers_ as long as they live
  }
  DirectPair(const DirectPair&) = delete;
  DirectPair& operator=(const DirectPair&) = delete;

 private:
  [[nodiscard]] std::shared_ptr<Channel> worker(WorkerId number) {
    return std::make_shared<DirectChannel>(
        registers_, DirectChannel::Options{
                        .token = "secret", .job = "contract", .me = {number, 1}, .find_view = [](auto, const Wait&) {
                          return DirectView{.members = {{0, 1}, {1, 1}}};
                        }});
  }
  const TemporaryFolder folder_;
  DirectoryRegister registers_;
};

INSTANTIATE_TEST_SUITE_P(Direct, ChannelContract,
                         testing::Values(ChannelCase{"direct", [] { return std::make_unique<DirectPair>(); }}),
                         name_of_case<ChannelCase>);

/// A bucket of one Swift, and two clients; each test has a job of its own.
class S3Pair final : public ChannelPair {
 public:
  explicit S3Pair(const std::string& query) {
    static const auto bucket = Swift::shared().make_bucket();
    static int jobs = 0;
    const auto job = "contract-" + std::to_string(++jobs);
    for (auto* end : {&first, &second}) {
      *end =
          std::make_shared<PolledChannel>(std::make_shared<S3Bin>(Swift::shared().client(bucket + "/p" + query), job));
    }
  }
};

INSTANTIATE_TEST_SUITE_P(
    S3, ChannelContract,
    testing::Values(ChannelCase{.name = "s3", .make = [] { return std::make_unique<S3Pair>(""); }, .is_slow = true},
                    ChannelCase{.name = "s3_tls",
                                .make = [] { return std::make_unique<S3Pair>(Swift::over_tls()); },
                                .is_slow = true}),
    name_of_case<ChannelCase>);

}  // namespace
}  // namespace virga
