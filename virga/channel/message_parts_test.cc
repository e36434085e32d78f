#include "virga/channel/message_parts.h"

#include <algorithm>
#include <string>

#include <gmock/gmock.h>

#include "virga/channel/channel_testing.h"

namespace virga {
namespace {

constexpr std::uint64_t kLimit = std::uint64_t{1} << 40;

Bytes part_of(const MessageParts& parts, std::string_view body) {
  const auto header = encode_header(parts);
  Bytes part(header.begin(), header.end());
  for (const char c : body) part.push_back(static_cast<std::byte>(c));
  return part;
}

// The example of docs/formats/message-parts.md.
TEST(MessageParts, HaveTheBytesThatTheFormatSays) {
  const auto header = encode_header({.message_bytes = 10, .body_bytes = 4});
  const auto hex = [&] {
    std::string text;
    for (const auto byte : header) {
      constexpr std::string_view kDigits = "0123456789abcdef";
      text += kDigits[std::to_integer<unsigned>(byte) >> 4];
      text += kDigits[std::to_integer<unsigned>(byte) & 15];
    }
    return text;
  }();
  EXPECT_EQ(hex, "0a0000000000000004000000bffbc3bc");
  EXPECT_EQ(decode_header(header, kLimit), (MessageParts{.message_bytes = 10, .body_bytes = 4}));
}

TEST(MessageParts, CoverTheMessage) {
  const MessageParts parts{.message_bytes = 10, .body_bytes = 4};
  EXPECT_EQ(parts.count(), 3U);
  EXPECT_EQ(parts.offset_of(2), 8U);
  EXPECT_EQ(parts.body_bytes_of(0), 4U);
  EXPECT_EQ(parts.body_bytes_of(2), 2U);
  EXPECT_EQ((MessageParts{.message_bytes = 8, .body_bytes = 4}.count()), 2U);
  const MessageParts empty{.message_bytes = 0, .body_bytes = 4};
  EXPECT_EQ(empty.count(), 1U);
  EXPECT_EQ(empty.body_bytes_of(0), 0U);
}

TEST(MessageParts, RefuseADamagedHeader) {
  const auto good = part_of({.message_bytes = 10, .body_bytes = 4}, "abcd");
  for (std::size_t i = 0; i < MessageParts::kHeaderBytes; ++i) {
    auto bad = good;
    bad[i] ^= std::byte{1};
    EXPECT_EQ(kind_of_error([&] { (void)decode_header(bad, kLimit); }), ErrorKind::kCorrupt) << i;
    EXPECT_EQ(kind_of_error([&] { (void)decode_header(ByteView(good).first(i), kLimit); }), ErrorKind::kCorrupt) << i;
  }
}

TEST(MessageParts, RefuseSizesThatCannotBe) {
  const auto refused = [](const MessageParts& parts, std::uint64_t limit) {
    return kind_of_error([&] { (void)decode_header(encode_header(parts), limit); }) == ErrorKind::kCorrupt;
  };
  EXPECT_TRUE(refused({.message_bytes = 10, .body_bytes = 0}, kLimit));
  EXPECT_TRUE(refused({.message_bytes = 11, .body_bytes = 4}, 10));
  EXPECT_TRUE(refused({.message_bytes = kLimit + 1, .body_bytes = 0xffffffff}, kLimit));
  EXPECT_TRUE(refused({.message_bytes = ~std::uint64_t{0}, .body_bytes = 1}, ~std::uint64_t{0}));
  EXPECT_TRUE(refused({.message_bytes = MessageParts::kMostParts + 1, .body_bytes = 1}, kLimit));
  EXPECT_EQ(decode_header(encode_header({.message_bytes = MessageParts::kMostParts, .body_bytes = 1}), kLimit).count(),
            MessageParts::kMostParts);
}

TEST(MessageParts, RefuseAPartOfAnotherSizeOrMessage) {
  const MessageParts parts{.message_bytes = 10, .body_bytes = 4};
  EXPECT_EQ(as_text(body_of_part(parts, 0, part_of(parts, "abcd"))), "abcd");
  EXPECT_EQ(as_text(body_of_part(parts, 2, part_of(parts, "ij"))), "ij");
  const auto refused = [&](std::uint64_t index, const Bytes& part) {
    return kind_of_error([&] { (void)body_of_part(parts, index, part); }) == ErrorKind::kCorrupt;
  };
  EXPECT_TRUE(refused(0, part_of(parts, "abc")));
  EXPECT_TRUE(refused(0, part_of(parts, "abcde")));
  EXPECT_TRUE(refused(2, part_of(parts, "ijkl")));
  EXPECT_TRUE(refused(0, part_of({.message_bytes = 9, .body_bytes = 4}, "abcd")));
  EXPECT_TRUE(refused(0, part_of({.message_bytes = 10, .body_bytes = 5}, "abcd")));
}

TEST(MessageParts, ReadThePartsNumberInAName) {
  EXPECT_EQ(parse_part_number("0"), 0U);
  EXPECT_EQ(parse_part_number("fffff"), MessageParts::kMostParts - 1);
  for (const auto* text : {"", "100000", "-1", "g", "1 ", "0x1"}) EXPECT_EQ(parse_part_number(text), std::nullopt);
}

}  // namespace
}  // namespace virga
