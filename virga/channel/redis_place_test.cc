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
  EXPECT_EQ(parse_redis_uri("redis:unix:/run/redis"),
            (RedisPlace{.address = parse_address("unix:/run/redis"), .user = ""}));
}

TEST(RedisPlace, IsWrittenAsItIsRead) {
  for (const auto* uri : {"redis://cache:6379", "redis://me@10.0.0.7:7000/3", "redis://[::1]:6379", "redis:unix:/r"}) {
    EXPECT_EQ(to_string(parse_redis_uri(uri)), uri);
  }
}

TEST(RedisPlace, RefusesWhatIsNoUri) {
  for (const auto* uri : {"", "redis:", "redis://", "redis:cache", "redis://:6379", "redis://cache:port",
                          "redis://cache:0", "redis://cache:66000", "redis://cache/many", "redis://cache/-1",
                          "redis://cache:6379/1/2", "redis://[::1", "redis:unix:", "http://cache"}) {
    EXPECT_EQ(kind_of_error([&] { (void)parse_redis_uri(uri); }), ErrorKind::kUsage) << uri;
  }
  EXPECT_EQ(kind_of_error([] { (void)parse_redis_uri("rediss://cache"); }), ErrorKind::kUnsupported);
}

TEST(RedisPlace, RefusesAPasswordWithoutRepeatingIt) {
  for (const auto* uri : {"redis://me:pa55word@cache", "redis://:pa55word@cache",
                          "redis://me:pa55@word/pa55word@cache:x", "rediss://me:pa55word@cache"}) {
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
