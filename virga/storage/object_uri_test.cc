#include "virga/storage/object_uri.h"

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/storage/object_store.h"
#include "virga/storage/swift_testing.h"

namespace virga {
namespace {

TEST(ObjectUriTest, NamesAnObjectInAStore) {
  const auto [store, name] = parse_object_uri("s3://bucket/a/b.bin?region=r&endpoint=http://h");
  EXPECT_EQ(store, "s3://bucket/a?region=r&endpoint=http://h");
  EXPECT_EQ(name, "b.bin");
  EXPECT_EQ(parse_object_uri("s3://bucket/b").store, "s3://bucket");
  for (const auto* wrong : {"", "b", "/a/b", "s3://bucket", "s3://bucket/", "s3://", "s3://bucket/a/.b"}) {
    EXPECT_THROW((void)parse_object_uri(wrong), Error) << wrong;
  }
  try {
    (void)parse_object_uri("s3://bucket/?secret=sesame");
    FAIL() << "names nothing";
  } catch (const Error& error) {
    EXPECT_THAT(std::string(error.what()), testing::Not(testing::HasSubstr("sesame")));
  }
}

TEST(ObjectUriTest, LeadsIntoAStore) {
  EXPECT_EQ(uri_within("s3://bucket", "functions"), "s3://bucket/functions");
  EXPECT_EQ(uri_within("s3://bucket/a/?region=r", "functions"), "s3://bucket/a/functions?region=r");
  EXPECT_EQ(uri_within("/a/b?c", "d"), "/a/b?c/d") << "a path has no parameters";
  EXPECT_TRUE(is_s3_uri("s3://bucket"));
  EXPECT_FALSE(is_s3_uri("s3"));
}

TEST(ObjectUriTest, AFileOrAnObject) {
  auto& swift = Swift::shared();
  const auto uri = "s3://" + swift.make_bucket() + "/models/m.bin";
  const auto file = testing::TempDir() + "virga_object_uri_" + std::to_string(::getpid());
  for (const auto& place : {uri, file}) {
    check_can_write_file_or_object(place, swift.environment());
    write_file_or_object(place, as_bytes("some bytes"), swift.environment());
    EXPECT_EQ(as_text(read_file_or_object(place, swift.environment())), "some bytes");
    EXPECT_THROW((void)read_file_or_object(place + "x", swift.environment()), Error);
  }
  std::filesystem::remove(file);
  try {
    check_can_write_file_or_object("s3://no-such-bucket/m.bin", swift.environment());
    FAIL() << "there is none";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNotFound);
  }
}

}  // namespace
}  // namespace virga
