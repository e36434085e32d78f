#include "virga/base/bytes.h"

#include <array>
#include <tuple>

#include <gmock/gmock.h>

namespace virga {
namespace {

TEST(Bytes, ReadsBackWhatWasWritten) {
  Bytes bytes;
  ByteWriter writer(bytes);
  writer.put(std::uint32_t{0x01020304});
  writer.put(1.5F);
  for (const std::uint64_t value : {std::uint64_t{0}, std::uint64_t{127}, std::uint64_t{128}, ~std::uint64_t{0}})
    writer.put_varint(value);
  writer.put_span<std::uint16_t>(std::array<std::uint16_t, 2>{7, 8});
  EXPECT_EQ(bytes[0], std::byte{4}) << "little-endian";

  ByteReader reader(bytes, "test");
  EXPECT_EQ(reader.get<std::uint32_t>(), 0x01020304U);
  EXPECT_EQ(reader.get<float>(), 1.5F);
  EXPECT_EQ(reader.get_varint(), 0U);
  EXPECT_EQ(reader.get_varint(), 127U);
  EXPECT_EQ(reader.get_varint(), 128U);
  EXPECT_EQ(reader.get_varint(), ~std::uint64_t{0});
  std::array<std::uint16_t, 2> values{};
  reader.get_span<std::uint16_t>(values);
  EXPECT_THAT(values, testing::ElementsAre(7, 8));
  EXPECT_EQ(reader.remaining(), 0U);
}

TEST(Bytes, RefusesToReadPastTheEndAndOverlongNumbers) {
  const Bytes three(3);
  EXPECT_THROW(std::ignore = ByteReader(three, "test").get<std::uint32_t>(), Error);
  EXPECT_THROW(std::ignore = ByteReader(three, "test").take(4), Error);
  const Bytes endless(11, std::byte{0xFF});
  EXPECT_THROW(std::ignore = ByteReader(endless, "test").get_varint(), Error);
}

}  // namespace
}  // namespace virga
