#include "virga/base/hash.h"

#include <gtest/gtest.h>

namespace virga {
namespace {

TEST(Crc32c, GivesThePublishedCheckValues) {
  EXPECT_EQ(crc32c(as_bytes("123456789")), 0xE3069283U);  // RFC 3720 / catalogue of CRC algorithms
  EXPECT_EQ(crc32c(Bytes(32)), 0x8A9136AAU);              // RFC 3720, B.4: 32 bytes of zeroes
  EXPECT_EQ(crc32c({}), 0U);
}

TEST(Crc32c, ContinuesWhereItStopped) { EXPECT_EQ(crc32c(as_bytes("56789"), crc32c(as_bytes("1234"))), 0xE3069283U); }

TEST(Crc32c, IsThatOfTheDefinitionForLongInputs) {
  const auto slow = [](ByteView bytes) {
    std::uint32_t crc = ~0U;
    for (const auto byte : bytes) {
      crc ^= std::to_integer<std::uint32_t>(byte);
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78U : 0U);
    }
    return ~crc;
  };
  Bytes bytes(20'000);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * i / 7 + i);
  for (const std::size_t size : {3071U, 3072U, 3073U, 6143U, 6144U, 9300U, 20'000U}) {
    for (const std::size_t from : {0U, 1U, 5U}) {
      const auto part = ByteView(bytes).subspan(from, size - from);
      EXPECT_EQ(crc32c(part), slow(part)) << size << " from " << from;
      EXPECT_EQ(crc32c(part.subspan(100), crc32c(part.first(100))), slow(part));
    }
  }
}

TEST(Murmur3, GivesThePublishedVectors) {
  EXPECT_EQ(murmur3_x86_32(""), 0U);
  EXPECT_EQ(murmur3_x86_32("", 1), 0x514E28B7U);
  EXPECT_EQ(murmur3_x86_32("test"), 0xBA6BD213U);
  EXPECT_EQ(murmur3_x86_32("Hello, world!"), 0xC0363E43U);
  EXPECT_EQ(murmur3_x86_32("The quick brown fox jumps over the lazy dog"), 0x2E4FF723U);
}

}  // namespace
}  // namespace virga
