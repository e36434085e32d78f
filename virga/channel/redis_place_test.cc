#include "virga/channel/redis_place.h"

#include <gmock/gmock.h>

#include "virga/channel/channel_testing.h"

namespace virga {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(RedisPlace, ReadsWhatAUriSays) {
  EXPECT_EQ(parse_redis_uri("redis://cache"),
            (RedisPlace{.address = parse_address("tcp:cache:6379"), .user = "", .database = 0}));
  EXPECT_EQ(parse_redis_uri("redis://me@10.0.0.7:7000/3"),
            (RedisPlace{.address = parse_address("tcp:10.0.0.7:7000"), .user = "me", .database = 3}));
  EXPECT_EQ(parse_redis_uri("redis://[::1]/"), (RedisPlace{.address = parse_address("tcp:[::1]:6379"), .user = ""}));
  const auto secure = parse_redis_uri("rediss://me@cache/3?ca=/a%20b.pem&via=10.0.0.7");
  EXPECT_EQ(secure.address.host, "10.0.0.7");
  EXPECT_EQ(secure.address.port, 6379);
  EXPECT_EQ(secure.address.tls, (TlsPeer{.name = "cache", .authorities = "/a b.pem"}));
  EXPECT_EQ(name_of(secure), "rediss://me@cache:6379/3");
  EXPECT_EQ(parse_redis_uri("redis:unix:/run/redis"),
            (RedisPlace{.address = parse_address("unix:/run/redis"), .user = ""}));
}

TEST(RedisPlace, IsWrittenAsItIsRead) {
  for (const auto* uri : {"redis://cache:6379", "redis://me@10.0.0.7:7000/3", "redis://[::1]:6379", "redis:unix:/r",
                          "rediss://cache:6379", "rediss://me@[::1]:7/3?ca=/a%20b.pem&via=10.0.0.7"}) {
    EXPECT_EQ(to_string(parse_redis_uri(uri)), uri);
  }
}

TEST(RedisPlace, RefusesWhatIsNoUri) {
  for (const auto* uri : {"",
                          "redis:",
                          "redis://",
                          "redis:cache",
                          "redis://:6379",
                          "redis://cache:port",
                          "redis://cache:0",
                          "redis://cache:66000",
                          "redis://cache/many",
                          "redis://cache/-1",
                          "redis://cache:6379/1/2",
                          "redis://[::1",
                          "redis:unix:",
                          "http://cache",
                          "rediss:unix:/r",
                          "rediss://",
                          "rediss://cache?ca=",
                          "rediss://cache?ca=a.pem",
                          "rediss://cache?ca=/a&ca=/b",
                          "rediss://cache?cert=/a",
                          "rediss://cache?ca=%zz",
                          "redis://cache?ca=/a"}) {
    EXPECT_EQ(kind_of_error([&] { (void)parse_redis_uri(uri); }), ErrorKind::kUsage) << uri;
  }
}

TEST(RedisPlace, RefusesAPasswordWithoutRepeatingIt) {
  for (const auto* uri :
       {"redis://me:pa55word@cache", "redis://:pa55word@cache", "redis://me:pa55@word/pa55word@cache:x",
        "rediss://me:pa55word@cache", "rediss://me:pa55?pa55=pa55@cache", "rediss://me:pa55?ca=/pa55@cache"}) {
    EXPECT_THAT(text_of_error([&] { (void)parse_redis_uri(uri); }), Not(HasSubstr("pa55"))) << uri;
  }
  try {
    (void)parse_redis_uri("redis://me:pa55word@cache");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.remedy(), HasSubstr("VIRGA_CHANNEL_TOKEN"));
  }
}

}  // namespace
}  // namespace virga
