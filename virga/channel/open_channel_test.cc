#include "virga/channel/open_channel.h"

#include <gmock/gmock.h>

#include "virga/base/error.h"

namespace virga {
namespace {

using testing::HasSubstr;

TEST(OpenChannel, OpensEachKindByItsUri) {
  EXPECT_THAT(open_channel("directory:/tmp/x", "run", "")->uri(), HasSubstr("/tmp/x/run"));
  EXPECT_THAT(open_channel("ps:tcp:127.0.0.1:7077", "run", "")->uri(), HasSubstr("127.0.0.1:7077"));
  EXPECT_THAT(open_channel("ps:unix:/tmp/s", "run", "")->uri(), HasSubstr("/tmp/s"));
  EXPECT_EQ(open_channel("redis://cache", "run", "")->uri(), "redis://cache:6379");
}

TEST(OpenChannel, OpensTheRegistersOfTheSameStore) {
  EXPECT_EQ(open_register("directory:/tmp/x", "run", "")->uri(), "/tmp/x/run.registers");
  EXPECT_THAT(open_register("ps:tcp:127.0.0.1:7077", "run", "")->uri(), HasSubstr("127.0.0.1:7077"));
  EXPECT_EQ(open_register("redis://cache", "run", "")->uri(), "redis://cache:6379");
  const auto bucket =
      open_register("s3://bucket/a?region=eu-west-1&endpoint=http://127.0.0.1:8000", "run", "ID:SECRET");
  EXPECT_THAT(bucket->uri(), HasSubstr("s3://bucket/a"));
  EXPECT_EQ(bucket->writes_between(std::uint64_t{3} << 20 | 5, std::uint64_t{7} << 20), 4U)
      << "low bits tell writers apart that write at the same time";
  EXPECT_THROW((void)open_register("gs://bucket", "run", ""), Error);
}

TEST(OpenChannel, RefusesWhatIsNoneOrNotBuilt) {
  for (const auto& [uri, kind] : {std::pair{"", ErrorKind::kUsage},
                                  {"directory", ErrorKind::kUsage},
                                  {"gs://bucket", ErrorKind::kUnsupported},
                                  {"s3://b", ErrorKind::kUsage},
                                  {"direct", ErrorKind::kUnsupported},
                                  {"direct:10.0.0.1", ErrorKind::kUnsupported},
                                  {"rediss:cache", ErrorKind::kUsage},
                                  {"rediss://cache?ca=/there/is/none.pem", ErrorKind::kNotFound},
                                  {"redis:cache", ErrorKind::kUsage},
                                  {"ps:nowhere", ErrorKind::kUsage}}) {
    try {
      (void)open_channel(uri, "run", "");
      FAIL() << uri;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind) << uri << ": " << error.what();
    }
  }
}

TEST(OpenChannel, GivesFunctionsTheTokenThatIsThere) {
  const Wait wait{Deadline::in(std::chrono::seconds(5))};
  EXPECT_EQ(token_for_functions("redis://a:1", "secret", wait), "secret");
  EXPECT_EQ(token_for_functions("dynamodb://table", "ID:SECRET", wait), "ID:SECRET");
}

TEST(OpenChannel, NamesTheAddressThatFunctionsAreToReach) {
  const std::string table = "dynamodb://table/a%20prefix?region=eu-west-1&endpoint=http://127.0.0.1:8000";
  EXPECT_EQ(tcp_address_of_channel(table), parse_address("tcp:127.0.0.1:8000"));
  const auto moved = channel_at(table, parse_address("tcp:10.0.0.1:7"));
  EXPECT_EQ(tcp_address_of_channel(moved), parse_address("tcp:10.0.0.1:7"));
  EXPECT_THAT(moved, HasSubstr("dynamodb://table/a%20prefix?region=eu-west-1&"));
  const std::string bucket = "s3://bucket/a?region=eu-west-1&style=virtual&endpoint=http://127.0.0.1:8000";
  EXPECT_EQ(channel_at(bucket, parse_address("tcp:10.0.0.1:7")),
            "s3://bucket/a?endpoint=http://10.0.0.1%3A7&region=eu-west-1&style=path&bodies=signed");
  const std::string secure = "s3://bucket/a?region=eu-west-1&style=virtual&endpoint=https://store:8000&ca=/a.pem";
  auto number = tcp_address_of_channel(secure).value();
  EXPECT_EQ(number.host, "bucket.store");
  number.host = "10.0.0.1";
  number.tls->authorities = "/copy.pem";
  EXPECT_EQ(channel_at(secure, number),
            "s3://bucket/a?endpoint=https://store%3A8000&region=eu-west-1&style=virtual&bodies=unsigned&ca=/"
            "copy.pem&via=10.0.0.1");
  EXPECT_EQ(tcp_address_of_channel(channel_at(secure, number)), number);
  const std::string secure_table = "dynamodb://table?region=eu-west-1&endpoint=https://host:8000&ca=/a.pem";
  number = tcp_address_of_channel(secure_table).value();
  number.host = "10.0.0.1";
  EXPECT_EQ(channel_at(secure_table, number),
            "dynamodb://table?region=eu-west-1&endpoint=https://host%3A8000&ca=/a.pem&via=10.0.0.1");
  number = tcp_address_of_channel("rediss://me@cache:7/3?ca=/a.pem").value();
  number.host = "10.0.0.1";
  EXPECT_EQ(channel_at("rediss://me@cache:7/3?ca=/a.pem", number), "rediss://me@cache:7/3?ca=/a.pem&via=10.0.0.1");
  EXPECT_EQ(channel_at("memcached://a:1", parse_address("tcp:10.0.0.1:7")), "memcached://10.0.0.1:7");
  EXPECT_EQ(tcp_address_of_channel("memcached:unix:/run/m.socket"), std::nullopt);
}

}  // namespace
}  // namespace virga
