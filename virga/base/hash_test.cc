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

TEST(Murmur3, GivesThePublishedVectors) {
  EXPECT_EQ(murmur3_x86_32(""), 0U);
  EXPECT_EQ(murmur3_x86_32("", 1), 0x514E28B7U);
  EXPECT_EQ(murmur3_x86_32("test"), 0xBA6BD213U);
  EXPECT_EQ(murmur3_x86_32("Hello, world!"), 0xC0363E43U);
  EXPECT_EQ(murmur3_x86_32("The quick brown fox jumps over the lazy dog"), 0x2E4FF723U);
}

}  // namespace
}  // namespace virga
