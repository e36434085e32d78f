// Memcached as a channel and for registers: what no other store does. What all do is in channel_contract_test.cc and
// register_contract_test.cc.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>

#include "virga/channel/channel_testing.h"
#include "virga/channel/memcached_bin.h"
#include "virga/channel/memcached_register.h"
#include "virga/channel/memcached_reply.h"
#include "virga/channel/memcached_testing.h"
#include "virga/channel/message_name.h"
#include "virga/channel/message_parts.h"
#include "virga/channel/open_channel.h"
#include "virga/channel/polled_channel.h"
#include "virga/channel/temporary_folder_testing.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::UnorderedElementsAre;

MessageKey cached_key(std::uint32_t source, std::uint64_t round) {
  return {.view = 1, .source = source, .round = round};
}

std::unique_ptr<PolledChannel> cached_channel(const std::string& uri, std::string_view job = "job") {
  return std::make_unique<PolledChannel>(
      std::make_shared<MemcachedBin>(std::make_shared<MemcachedClient>(uri, ""), job));
}

std::vector<std::string> keys_at(const std::string& uri) {
  std::vector<std::string> keys;
  MemcachedClient(uri, "").list([&](std::string_view at) { keys.emplace_back(at); }, soon());
  return keys;
}

// The examples of docs/formats/channel-memcached.md.
TEST(MemcachedFormatTest, KeepsAMessageAsAnItemUnderItsName) {
  const MemcachedService service;
  const auto channel = cached_channel(service.uri(), "a job");
  const MessageKey example{
      .view = 1, .group = 2, .source = 3, .round = 0x1234, .phase = 5, .destination = 6, .part = 7};
  put_text(*channel, example, "hello");
  const std::string name = "m:a%20job:00000001/00000002/00000003/0000000000001234-0005-00000006-00000007";
  EXPECT_THAT(keys_at(service.uri()), UnorderedElementsAre(name));
  std::string text;
  std::uint32_t flags = 9;
  MemcachedClient(service.uri(), "")
      .fetch(
          std::vector{name},
          [&](std::size_t, const SharedBytes& bytes, std::uint32_t kept) {
            text = as_text(bytes.view());
            flags = kept;
          },
          soon());
  EXPECT_EQ(text, "hello");
  EXPECT_EQ(flags, 0U);
}

TEST(MemcachedFormatTest, CutsWhatDoesNotFitIntoAnItemAndKeepsTheHeadLast) {
  const MemcachedService service;
  const auto channel = cached_channel(service.uri());
  const std::string large(2'200'000, 'x');
  put_text(*channel, cached_key(0, 1), large);
  const auto name = "m:job:" + message_name(cached_key(0, 1));
  EXPECT_THAT(keys_at(service.uri()), UnorderedElementsAre(name, name + "+0", name + "+1", name + "+2"));
  const auto body = (1 << 20) - 512;
  std::vector<std::string> values;
  MemcachedClient(service.uri(), "")
      .fetch(
          std::vector{name, name + "+0", name + "+2"},
          [&](std::size_t, const SharedBytes& bytes, std::uint32_t flags) {
            values.push_back(std::to_string(flags) + ":" + std::string(as_text(bytes.view())));
          },
          soon());
  const auto head = encode_header(MessageParts{.message_bytes = 2'200'000, .body_bytes = body});
  EXPECT_EQ(values[0], "1:" + std::string(as_text(head)));
  EXPECT_EQ(values[1], "2:" + std::string(body, 'x'));
  EXPECT_EQ(values[2], "2:" + std::string(2'200'000 - 2 * body, 'x'));
  EXPECT_EQ(get_text(*cached_channel(service.uri()), cached_key(0, 1)), large);
  EXPECT_EQ(channel->contents(soon()), (ChannelContents{.messages = 1, .bytes = 2'200'000}));

  // Parts without a head, as a put leaves them that was cut off, are no message.
  MemcachedClient(service.uri(), "").remove(std::vector{name}, soon());
  EXPECT_EQ(channel->try_get(cached_key(0, 1), soon()), std::nullopt);
  cached_channel(service.uri())->sweep(kEverybody, soon());
  EXPECT_THAT(keys_at(service.uri()), testing::IsEmpty());
}

TEST(MemcachedFormatTest, RetiresTheParts) {
  const MemcachedService service;
  const auto channel = cached_channel(service.uri());
  put_text(*channel, cached_key(0, 1), std::string(3'000'000, 'x'));
  channel->retire(1, 0, 0, 1, soon());
  EXPECT_THAT(keys_at(service.uri()), testing::IsEmpty());
}

TEST(MemcachedFormatTest, ShortensKeysThatAreTooLong) {
  const std::string long_name(600, 'n');
  const auto shortened = memcached_key('r', std::string(300, 'j'), long_name);
  EXPECT_LE(shortened.size(), MemcachedClient::kMostKeyBytes);
  EXPECT_NE(shortened, memcached_key('r', std::string(300, 'j'), long_name + "n"));
  EXPECT_NE(shortened, memcached_key('r', std::string(301, 'j'), long_name));
  EXPECT_EQ(memcached_key('r', "a:b", "c d/e"), "r:a%3Ab:c%20d/e");
  const MemcachedService service;
  MemcachedRegister registers(std::make_shared<MemcachedClient>(service.uri(), ""), "job");
  std::string deep;
  for (int i = 0; i < 4; ++i) deep += std::string(200, 'n') + "/";
  deep += "n";
  registers.write(deep, as_bytes("value"), soon());
  EXPECT_EQ(as_text(registers.read(deep, soon())->bytes.view()), "value");
}

TEST(MemcachedReplyTest, IsBounded) {
  const auto refused = [](const std::string& text) {
    return kind_of_error([&] {
             MemcachedReader reader(1000);
             auto bytes = as_bytes(text);
             while (reader.feed(bytes) != MemcachedReader::Step::kMore) {
             }
           }) == ErrorKind::kCorrupt;
  };
  EXPECT_TRUE(refused(std::string(10'000, 'x')));
  EXPECT_TRUE(refused("VA 1001\r\n"));
  EXPECT_TRUE(refused("VA x\r\n"));
  EXPECT_TRUE(refused("HD O18446744073709551616\r\n"));
  EXPECT_TRUE(refused("HD\n"));
  EXPECT_TRUE(refused("HTTP/1.1 400 Bad Request\r\n"));
  EXPECT_TRUE(refused("VA 2 O1\r\nabcd"));
}

TEST(MemcachedUriTest, SaysWhereTheServerIsAndNothingElse) {
  EXPECT_EQ(to_string(parse_memcached_uri("memcached://127.0.0.1:7000")), "tcp:127.0.0.1:7000");
  EXPECT_EQ(to_string(parse_memcached_uri("memcached://cache.example/")), "tcp:cache.example:11211");
  EXPECT_EQ(to_string(parse_memcached_uri("memcached://[::1]")), "tcp:[::1]:11211");
  EXPECT_EQ(to_string(parse_memcached_uri("memcached:unix:/run/m.socket")), "unix:/run/m.socket");
  EXPECT_EQ(kind_of_error([] { (void)parse_memcached_uri("memcached://a:1,b:2"); }), ErrorKind::kUnsupported);
  for (const auto* uri :
       {"memcached:a", "memcached://", "memcached://a:1/x", "memcached://a:1?x=1", "memcached://a:x"}) {
    EXPECT_EQ(kind_of_error([&] { (void)parse_memcached_uri(uri); }), ErrorKind::kUsage) << uri;
  }
  EXPECT_THAT(text_of_error([] { (void)parse_memcached_uri("memcached://me:secret@a:1"); }),
              AllOf(HasSubstr("VIRGA_CHANNEL_TOKEN"), Not(HasSubstr("secret"))));
}

TEST(MemcachedFaultTest, SaysThatNobodyIsThere) {
  const TemporaryFolder folder;
  const auto uri = "memcached:unix:" + (folder.path() / "nobody").string();
  EXPECT_EQ(kind_of_error([&] { (void)open_channel(uri, "job", ""); }), ErrorKind::kUnavailable);
  EXPECT_THAT(text_of_error([&] { (void)open_channel(uri, "job", ""); }), HasSubstr("nobody"));
}

TEST(MemcachedFaultTest, EndsAWaitWhenTheServerDies) {
  MemcachedService service;
  const auto channel = cached_channel(service.uri());
  std::jthread killer([&] {
    while (channel->polls() == 0) std::this_thread::yield();
    service.kill();
  });
  EXPECT_EQ(kind_of_error([&] { (void)get_text(*channel, cached_key(0, 1)); }), ErrorKind::kUnavailable);
  killer.join();
  EXPECT_EQ(kind_of_error([&] { put_text(*channel, cached_key(0, 1), "m"); }), ErrorKind::kUnavailable);
  service.start();
  put_text(*channel, cached_key(0, 1), "back");
  EXPECT_EQ(get_text(*cached_channel(service.uri()), cached_key(0, 1)), "back");
}

TEST(MemcachedFaultTest, SaysThatAServerWhichIsBackHasLostWhatIsWaitedFor) {
  MemcachedService service;
  const auto channel = cached_channel(service.uri());
  put_text(*channel, cached_key(0, 1), "m");
  service.kill();
  service.start();
  const auto wait_for_it = [&] { (void)get_text(*channel, cached_key(1, 1)); };
  EXPECT_THAT(text_of_error(wait_for_it), HasSubstr("was restarted"));
}

TEST(MemcachedFaultTest, EndsAtItsDeadlineWhenTheServerIsStopped) {
  MemcachedService service;
  const auto channel = cached_channel(service.uri());
  put_text(*channel, cached_key(0, 1), "m");
  service.process().stop();
  const Wait briefly{Deadline::in(50ms)};
  const auto text = text_of_error([&] {
    channel->get(
        std::vector{cached_key(0, 1)}, [](const auto&, const auto&) {}, briefly);
  });
  EXPECT_THAT(text, AllOf(HasSubstr("1 message did not come"), HasSubstr("no answer in time")));
  EXPECT_EQ(kind_of_error([&] { put_text(*channel, cached_key(0, 2), "m", {Deadline::in(50ms)}); }),
            ErrorKind::kDeadlineExceeded);
  std::stop_source stop;
  std::jthread stopper([&] {
    std::this_thread::sleep_for(20ms);
    stop.request_stop();
  });
  EXPECT_EQ(kind_of_error([&] {
              put_text(*channel, cached_key(0, 2), "m", {Deadline::in(20s), stop.get_token()});
            }),
            ErrorKind::kInterrupted);
  service.process().go_on();
  EXPECT_EQ(get_text(*channel, cached_key(0, 1)), "m") << "the channel works on";
}

/// Puts messages of 100 KB until `count` are there.
void fill(Channel& channel, std::uint64_t count) {
  const std::string text(100'000, 'x');
  for (std::uint64_t i = 0; i < count; ++i) put_text(channel, cached_key(7, i), text);
}

TEST(MemcachedFaultTest, RefusesWhatDoesNotFitWhereItMayNotThrowOut) {
  const MemcachedService service({"-M", "-m", "8"});
  const auto channel = cached_channel(service.uri());
  put_text(*channel, cached_key(0, 1), "first");
  EXPECT_EQ(kind_of_error([&] { fill(*channel, 500); }), ErrorKind::kTooLarge);
  EXPECT_EQ(get_text(*channel, cached_key(0, 1)), "first");
}

TEST(MemcachedFaultTest, SaysWhileItWaitsThatMessagesWereThrownOut) {
  const MemcachedService service({"-m", "8"});
  const auto channel = cached_channel(service.uri());
  const auto waiting = cached_channel(service.uri());
  std::jthread other([&] {
    while (waiting->polls() == 0) std::this_thread::yield();
    fill(*channel, 300);
  });
  try {
    (void)get_text(*waiting, cached_key(9, 1));
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kTooLarge);
    EXPECT_THAT(error.what(), HasSubstr("has thrown out"));
    EXPECT_THAT(error.remedy(), HasSubstr("-M"));
  }
}

TEST(MemcachedFaultTest, SaysWhileItWaitsThatItsOwnMessageIsGone) {
  const MemcachedService service;
  const auto channel = cached_channel(service.uri());
  put_text(*channel, cached_key(0, 1), "m");
  cached_channel(service.uri())->sweep(kEverybody, soon());
  EXPECT_THAT(text_of_error([&] { (void)get_text(*channel, cached_key(9, 1)); }),
              HasSubstr("1 messages that were put are gone"));
}

TEST(MemcachedFaultTest, RefusesOtherBytesThatAnotherObjectHasPut) {
  const MemcachedService service;
  put_text(*cached_channel(service.uri()), cached_key(0, 1), "first");
  const auto channel = cached_channel(service.uri());
  EXPECT_EQ(kind_of_error([&] { put_text(*channel, cached_key(0, 1), "other"); }), ErrorKind::kConflict);
  put_text(*channel, cached_key(0, 1), "first");
}

TEST(MemcachedFaultTest, TellsJobsApart) {
  const MemcachedService service;
  const auto one = cached_channel(service.uri(), "one");
  const auto other = cached_channel(service.uri(), "other");
  put_text(*one, cached_key(0, 1), "one");
  put_text(*other, cached_key(0, 1), "other");
  one->sweep(kEverybody, soon());
  EXPECT_EQ(get_text(*other, cached_key(0, 1)), "other");
  EXPECT_EQ(one->contents(soon()), ChannelContents());
}

TEST(MemcachedTokenTest, IsGivenWhereItIsAskedForAndNowhereElse) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "users";
  std::ofstream(file) << "me:secret\n";
  std::filesystem::permissions(file, std::filesystem::perms::owner_read);
  const MemcachedService service({"-Y", file.string()});
  const auto channel = open_channel(service.uri(), "job", "me:secret");
  put_text(*channel, cached_key(0, 1), "m");
  EXPECT_EQ(get_text(*channel, cached_key(0, 1)), "m");
  for (const auto* token : {"", "me:another", "me"}) {
    const auto open = [&] { (void)open_channel(service.uri(), "job", token); };
    EXPECT_EQ(kind_of_error(open), ErrorKind::kUnauthorized) << token;
    EXPECT_THAT(text_of_error(open), Not(HasSubstr("another")));
  }
  const MemcachedService of_everybody;
  put_text(*open_channel(of_everybody.uri(), "job", "me:secret"), cached_key(0, 1), "m");
  EXPECT_THAT(keys_at(of_everybody.uri()), testing::SizeIs(1)) << "the password was stored";
}

}  // namespace
}  // namespace virga
