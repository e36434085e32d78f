#include "virga/channel/redis_channel.h"

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include <gmock/gmock.h>

#include "virga/channel/channel_testing.h"
#include "virga/channel/redis_register.h"
#include "virga/channel/redis_testing.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr MessageKey kFirst{.view = 1, .group = 2, .source = 3, .round = 4, .phase = 5, .destination = 6, .part = 7};
const std::string kFirstName = "00000001-00000002-00000003-0000000000000004-0005-00000006-00000007";

std::string many_bytes(std::size_t count) {
  std::string text(count, ' ');
  for (std::size_t i = 0; i < count; ++i) text[i] = static_cast<char>(i * i / 7 + i);
  return text;
}

std::set<std::string> keys_of(const RedisServer& server) {
  std::set<std::string> keys;
  const auto reply = server.ask({"KEYS", "*"});
  for (const auto& key : reply.items) keys.emplace(key.bytes_text());
  return keys;
}

// docs/formats/channel-redis.md

TEST(RedisFormat, KeepsAMessageInAStreamAndTheIndex) {
  const RedisServer server;
  RedisChannel channel(server.client(), "job");
  put_text(channel, kFirst, "hello");
  EXPECT_THAT(keys_of(server), ElementsAre("virga:job:index", "virga:job:m:" + kFirstName));
  const auto entries = server.ask({"XRANGE", "virga:job:m:" + kFirstName, "-", "+"});
  ASSERT_EQ(entries.items.size(), 1U);
  EXPECT_EQ(entries.items[0].items.at(0).bytes_text(), "1-1");
  const auto& fields = entries.items[0].items.at(1).items;
  ASSERT_EQ(fields.size(), 2U);
  EXPECT_EQ(fields[0].bytes_text(), "b");
  EXPECT_EQ(fields[1].bytes_text(), "hello");
  const auto index = server.ask({"ZRANGE", "virga:job:index", "0", "-1", "WITHSCORES"});
  ASSERT_EQ(index.items.size(), 2U);
  EXPECT_EQ(index.items[0].bytes_text(), kFirstName + ":5");
  EXPECT_EQ(index.items[1].bytes_text(), "0");
}

TEST(RedisFormat, CutsALongMessageIntoPieces) {
  const RedisServer server;
  RedisChannel channel(server.client(), "job");
  const auto text = many_bytes((2 << 20) + 1);
  put_text(channel, kFirst, text);
  const auto name = "virga:job:m:" + kFirstName;
  EXPECT_THAT(keys_of(server), ElementsAre("virga:job:index", name, name + ":0", name + ":1", name + ":2"));
  const auto entries = server.ask({"XRANGE", name, "-", "+"});
  const auto& fields = entries.items.at(0).items.at(1).items;
  EXPECT_EQ(fields.at(0).bytes_text(), "n");
  EXPECT_EQ(fields.at(1).bytes_text(), "2097153");
  EXPECT_EQ(server.ask({"GET", name + ":1"}).bytes_text(), text.substr(1 << 20, 1 << 20));
  EXPECT_EQ(server.ask({"GET", name + ":2"}).bytes_text(), text.substr(2 << 20));
  EXPECT_EQ(get_text(channel, kFirst), text);
  EXPECT_EQ(channel.contents(soon()), (ChannelContents{.messages = 1, .bytes = text.size()}));
}

TEST(RedisFormat, KeepsARegisterInAStreamOfOneEntry) {
  const RedisServer server;
  RedisRegister registers(server.client(), "job");
  (void)registers.write("a/b", as_bytes("one"), soon());
  EXPECT_EQ(registers.compare_exchange("a/b", 1, as_bytes("two"), soon()), 2U);
  EXPECT_THAT(keys_of(server), ElementsAre("virga:job:r:a/b"));
  const auto entries = server.ask({"XRANGE", "virga:job:r:a/b", "-", "+"});
  ASSERT_EQ(entries.items.size(), 1U);
  EXPECT_EQ(entries.items[0].items.at(0).bytes_text(), "0-2");
  EXPECT_EQ(entries.items[0].items.at(1).items.at(0).bytes_text(), "v");
  EXPECT_EQ(entries.items[0].items.at(1).items.at(1).bytes_text(), "two");
}

TEST(RedisChannel, LeavesNothingBehind) {
  const RedisServer server;
  RedisChannel channel(server.client(), "job");
  RedisChannel other(server.client(), "other");
  for (std::uint32_t i = 0; i < 2500; ++i) put_text(channel, {.view = 1, .source = i}, "m");
  put_text(channel, {.view = 2, .round = 7}, many_bytes(3'000'000));
  put_text(other, kFirst, "of another job");
  channel.retire(2, 0, 0, ~std::uint64_t{0}, soon());
  channel.sweep(2, soon());
  EXPECT_EQ(keys_of(server).size(), 2U);
  EXPECT_EQ(get_text(other, kFirst), "of another job");
  other.sweep(kEverybody, soon());
  EXPECT_TRUE(keys_of(server).empty());
}

TEST(RedisChannel, RefusesOtherBytesInAnyPieceOfALongMessage) {
  const RedisServer server;
  RedisChannel channel(server.client(), "job");
  const auto text = many_bytes(2'500'000);
  put_text(channel, kFirst, text);
  put_text(channel, kFirst, text);
  for (const std::size_t at : {std::size_t{0}, std::size_t{1'500'000}, text.size() - 1}) {
    auto other = text;
    other[at] = static_cast<char>(other[at] + 1);
    EXPECT_EQ(kind_of_error([&] { put_text(channel, kFirst, other); }), ErrorKind::kConflict) << at;
  }
  for (const auto& other : {text + "x", text.substr(1), std::string("short")}) {
    EXPECT_EQ(kind_of_error([&] { put_text(channel, kFirst, other); }), ErrorKind::kConflict) << other.size();
  }
  EXPECT_EQ(get_text(channel, kFirst), text);
  EXPECT_EQ(channel.contents(soon()), (ChannelContents{.messages = 1, .bytes = text.size()}));
}

TEST(RedisChannel, HandsOverShortAndLongMessagesOfOneCallAsTheyCome) {
  const RedisServer server;
  RedisChannel channel(server.client(), "job");
  RedisChannel other(server.client(), "job");
  std::vector<MessageKey> keys;
  for (std::uint32_t i = 0; i < 6; ++i) keys.push_back({.view = 1, .source = i});
  const auto text_of = [](std::uint32_t i) { return many_bytes(i % 2 == 0 ? 10 + i : 1'500'000 + i); };
  for (const std::uint32_t i : {0U, 1U, 3U}) put_text(channel, keys[i], text_of(i));
  std::atomic<int> seen = 0;
  std::jthread later([&] {
    while (seen < 3) std::this_thread::yield();
    for (const std::uint32_t i : {2U, 5U, 4U}) put_text(other, keys[i], text_of(i));
  });
  channel.get(
      keys,
      [&](const MessageKey& key, const SharedBytes& bytes) {
        EXPECT_EQ(as_text(bytes.view()), text_of(key.source));
        ++seen;
      },
      soon());
  EXPECT_EQ(seen, 6);
}

// Faults

class RedisFaultsOverEach : public testing::TestWithParam<RedisServer::Listens> {};
INSTANTIATE_TEST_SUITE_P(Transports, RedisFaultsOverEach,
                         testing::Values(RedisServer::Listens::kUnix, RedisServer::Listens::kTls),
                         [](const auto& its) { return its.param == RedisServer::Listens::kTls ? "tls" : "plain"; });

TEST(RedisFaults, SaysWhereNobodyListens) {
  RedisServer server(RedisServer::Listens::kTcp);
  RedisChannel channel(server.client(), "job");
  server.kill();
  EXPECT_EQ(kind_of_error([&] { put_text(channel, kFirst, "m"); }), ErrorKind::kUnavailable);
  EXPECT_THAT(text_of_error([&] { put_text(channel, kFirst, "m"); }), HasSubstr(server.uri().substr(8)));
}

TEST_P(RedisFaultsOverEach, EndsAWaitWhenTheServerDiesAndWorksOnWhenItIsBack) {
  RedisServer server(GetParam());
  RedisChannel channel(server.client(), "job");
  put_text(channel, kFirst, "lost");
  std::jthread killer([&] {
    while (server.ask({"INFO", "clients"}).bytes_text().find("blocked_clients:1") == std::string_view::npos) {
    }
    server.kill();
  });
  const auto other = MessageKey{.view = 9};
  EXPECT_EQ(kind_of_error([&] {
              channel.get(
                  std::vector{other}, [](const auto&, const auto&) {}, soon());
            }),
            ErrorKind::kUnavailable);
  killer.join();
  server.start();
  EXPECT_EQ(try_get_text(channel, kFirst), std::nullopt) << "it came back empty";
  put_text(channel, kFirst, "again");
  EXPECT_EQ(get_text(channel, kFirst), "again");
}

TEST_P(RedisFaultsOverEach, TakesANewConnectionWhenAnIdleOneWasEnded) {
  const RedisServer server(GetParam());
  RedisChannel channel(server.client(), "job");
  RedisRegister registers(server.client(), "job");
  put_text(channel, kFirst, "m");
  EXPECT_EQ(registers.write("a", as_bytes("one"), soon()), 1U);
  (void)server.ask({"CLIENT", "KILL", "TYPE", "normal"});
  EXPECT_EQ(get_text(channel, kFirst), "m");
  EXPECT_EQ(registers.write("a", as_bytes("two"), soon()), 2U);
}

TEST(RedisFaults, NamesAWrongPasswordAndDoesNotRepeatIt) {
  const RedisServer server(RedisServer::Listens::kUnix, "right-one");
  for (const auto* password : {"", "wrong-one"}) {
    RedisChannel channel(std::make_shared<RedisClient>(server.place(), password), "job");
    EXPECT_EQ(kind_of_error([&] { put_text(channel, kFirst, "m"); }), ErrorKind::kUnauthorized);
    EXPECT_THAT(text_of_error([&] { put_text(channel, kFirst, "m"); }),
                AllOf(HasSubstr(server.uri()), Not(HasSubstr("-one"))));
  }
}

TEST(RedisFaults, KnowsAUserByNameAndWhatItMayNot) {
  const RedisServer server;
  (void)server.ask({"ACL", "SETUSER", "worker", "on", ">pass", "~virga:*", "+@all", "-xadd"});
  auto place = server.place();
  place.user = "worker";
  RedisChannel channel(std::make_shared<RedisClient>(place, "pass"), "job");
  EXPECT_EQ(try_get_text(channel, kFirst), std::nullopt);
  EXPECT_EQ(kind_of_error([&] { put_text(channel, kFirst, "m"); }), ErrorKind::kUnauthorized);
  EXPECT_THAT(text_of_error([&] { put_text(channel, kFirst, "m"); }), HasSubstr(to_string(kFirst)));
}

TEST(RedisFaults, RefusesWhatDoesNotFitIntoTheServersMemory) {
  const RedisServer server(RedisServer::Listens::kUnix, "sesame",
                           {"--maxmemory", "8mb", "--maxmemory-policy", "noeviction"});
  RedisChannel channel(server.client(), "job");
  put_text(channel, kFirst, "m");
  const MessageKey large{.view = 1, .round = 17};
  const auto text = many_bytes(20 << 20);
  EXPECT_EQ(kind_of_error([&] { put_text(channel, large, text); }), ErrorKind::kTooLarge);
  EXPECT_THAT(text_of_error([&] { put_text(channel, large, text); }), HasSubstr("round 17"));
  EXPECT_EQ(try_get_text(channel, large), std::nullopt);
  EXPECT_EQ(get_text(channel, kFirst), "m");
  channel.sweep(kEverybody, soon());
  EXPECT_TRUE(keys_of(server).empty()) << "what was half put is gone, too";
  put_text(channel, kFirst, "again");
}

TEST(RedisFaults, RefusesAServerThatMayThrowMessagesAway) {
  const RedisServer evicting(RedisServer::Listens::kUnix, "sesame",
                             {"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"});
  EXPECT_EQ(kind_of_error([&] { evicting.client()->check_server(soon()); }), ErrorKind::kUsage);
  const RedisServer keeping(RedisServer::Listens::kUnix, "", {"--maxmemory", "100mb"});
  keeping.client()->check_server(soon());
}

TEST(RedisFaults, GivesUpOnAServerThatStandsStill) {
  const RedisServer server;
  RedisChannel channel(server.client(), "job");
  put_text(channel, kFirst, "m");
  server.stop();
  const Wait wait{Deadline::in(20ms)};
  EXPECT_EQ(kind_of_error([&] { put_text(channel, {.view = 2}, "m", wait); }), ErrorKind::kDeadlineExceeded);
  EXPECT_EQ(kind_of_error([&] {
              channel.get(
                  std::vector{kFirst}, [](const auto&, const auto&) {}, wait);
            }),
            ErrorKind::kDeadlineExceeded);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(kind_of_error([&] {
              channel.get(std::vector{kFirst}, [](const auto&, const auto&) {}, {Deadline::in(20s), stop.get_token()});
            }),
            ErrorKind::kInterrupted);
  server.go_on();
  EXPECT_EQ(get_text(channel, kFirst), "m");
}

TEST(RedisFaults, WaitsForAServerThatPauses) {
  const RedisServer server;
  RedisChannel channel(server.client(), "job");
  (void)server.ask({"CLIENT", "PAUSE", "60", "ALL"});
  put_text(channel, kFirst, "m");
  EXPECT_EQ(get_text(channel, kFirst), "m");
}

TEST(RedisFaults, NamesAReplicaAndAFullHouse) {
  const RedisServer server(RedisServer::Listens::kUnix, "sesame", {"--maxclients", "1"});
  RedisChannel channel(server.client(), "job");
  for (bool done = false; !done;) {  // until the connection of the server's start is gone
    try {
      put_text(channel, kFirst, "m");
      done = true;
    } catch (const Error& error) {
      ASSERT_TRUE(is_retryable(error.kind())) << error.what();
    }
  }
  // The server may have closed before it was greeted.
  EXPECT_TRUE(is_retryable(kind_of_error([&] { (void)server.ask({"PING"}); })));

  const RedisServer replica;
  (void)replica.ask({"REPLICAOF", "127.0.0.1", "1"});
  RedisChannel wrong(replica.client(), "job");
  EXPECT_EQ(kind_of_error([&] { put_text(wrong, kFirst, "m"); }), ErrorKind::kUnavailable);
}

TEST_P(RedisFaultsOverEach, CorruptsNothingWhenConnectionsAreCutAnywhere) {
  const RedisServer server(GetParam());
  RedisChannel channel(server.client(), "job");
  const auto text = many_bytes(5'000'000);
  std::atomic<bool> done = false;
  std::jthread cutter([&] {
    RedisClient client(server.place(), server.password());
    RespRequest cut;
    cut.command({"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"});
    while (!done) (void)client.ask(cut, "a cut", soon());
  });
  int cut = 0;
  for (std::uint64_t round = 0; round < 25; ++round) {
    const MessageKey key{.view = 1, .round = round};
    try {
      put_text(channel, key, text);
      std::string got;
      channel.get(
          std::vector{key}, [&](const MessageKey&, const SharedBytes& bytes) { got = as_text(bytes.view()); }, soon());
      EXPECT_EQ(got, text);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUnavailable) << error.what();
      ++cut;
    }
  }
  done = true;
  cutter.join();
  EXPECT_GT(cut, 0);
  // What is there is whole; what is not can be put again.
  for (std::uint64_t round = 0; round < 25; ++round) put_text(channel, {.view = 1, .round = round}, text);
  EXPECT_EQ(channel.contents(soon()), (ChannelContents{.messages = 25, .bytes = 25 * text.size()}));
  channel.sweep(kEverybody, soon());
  EXPECT_TRUE(keys_of(server).empty());
}

// TLS

std::optional<Error> refusal_of(const std::string& uri, const Wait& wait = soon()) {
  try {
    RedisClient(parse_redis_uri(uri), "sesame").check_server(wait);
    return std::nullopt;
  } catch (const Error& error) {
    return error;
  }
}

TEST(RedisTls, RefusesAServerThatDoesNotProveWhoItIs) {
  const RedisServer server(RedisServer::Listens::kTcp);
  const auto parameters = "?ca=" + TestCertificates::shared().authority();
  for (const auto& [certificate, reason] : {std::pair("expired", "its certificate expired on "),
                                            {"misnamed", "its certificate is for elsewhere.example, 192.0.2.1"},
                                            {"foreign", "its certificate is signed by nobody whom "}}) {
    const TlsFront front(server.place().address, {.certificate = certificate});
    const auto uri = "rediss://127.0.0.1:" + std::to_string(front.address().port);
    const auto error = refusal_of(uri + parameters);
    ASSERT_TRUE(error) << certificate;
    EXPECT_EQ(error->kind(), ErrorKind::kUnauthorized);
    EXPECT_THAT(error->what(), AllOf(HasSubstr(uri + ": TLS: the server 127.0.0.1"), HasSubstr(reason)));
    EXPECT_NE(error->remedy(), "");
  }
}

TEST(RedisTls, IsMissedWhereOnlyOneSideSpeaksIt) {
  const RedisServer plain(RedisServer::Listens::kTcp), secure(RedisServer::Listens::kTls);
  const auto port = [](const RedisServer& server) { return std::to_string(server.place().address.port); };
  const auto unheard = refusal_of("rediss://127.0.0.1:" + port(plain) + "?ca=" + TestCertificates::shared().authority(),
                                  {Deadline::in(200ms)});
  ASSERT_TRUE(unheard);
  EXPECT_THAT(unheard->what(), HasSubstr("TLS"));
  EXPECT_THAT(unheard->remedy(), HasSubstr("check that the server speaks TLS at this port"));
  const auto unasked = refusal_of("redis://127.0.0.1:" + port(secure));
  ASSERT_TRUE(unasked);
  EXPECT_THAT(unasked->remedy(), HasSubstr("rediss://")) << unasked->what();
}

TEST(RedisTls, NamesAServerThatWantsACertificateOfItsClients) {
  const auto& certificates = TestCertificates::shared();
  const auto address = Listener(parse_address("tcp:127.0.0.1:0")).address();
  ServiceProcess server(
      {"redis-server", "--save", "", "--port", "0", "--bind", "127.0.0.1", "--tls-port", std::to_string(address.port),
       "--tls-cert-file", certificates.file("good.pem"), "--tls-key-file", certificates.file("good.key"),
       "--tls-ca-cert-file", certificates.authority()},
      "the Debian package redis-server");
  server.await([&] {
    try {
      return static_cast<bool>(connect_to(address, nullptr, soon().deadline));
    } catch (const Error&) {
      return false;
    }
  });
  const auto error =
      refusal_of("rediss://127.0.0.1:" + std::to_string(address.port) + "?ca=" + certificates.authority());
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind(), ErrorKind::kUnsupported) << error->what();
  EXPECT_THAT(error->what(), HasSubstr("wants a certificate of its clients"));
  EXPECT_THAT(error->remedy(), HasSubstr("tls-auth-clients no"));
}

}  // namespace
}  // namespace virga
