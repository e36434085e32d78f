#include "virga/channel/message.h"

#include <gmock/gmock.h>

#include "virga/base/error.h"

namespace virga {
namespace {

using testing::HasSubstr;

constexpr MessageKey kKey{.view = 2, .source = 3, .round = 7, .destination = 1};

Bytes message_bytes() {
  const std::vector<ByteView> body = {as_bytes("ab"), as_bytes("c")};
  const auto header =
      encode_header({.kind = MessageKind::kContribution, .view = 2, .generation = 5, .round = 7, .weight = 1.5}, body);
  Bytes bytes(header.begin(), header.end());
  for (const auto& part : body) bytes.insert(bytes.end(), part.begin(), part.end());
  return bytes;
}

std::string refusal(const Bytes& bytes, MessageKey key = kKey, MessageKind kind = MessageKind::kContribution) {
  try {
    (void)open_message(SharedBytes::copy_of(bytes), key, kind);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kCorrupt);
    return error.what();
  }
  return "accepted";
}

TEST(Message, HoldsItsBytes) {
  const auto bytes = message_bytes();
  std::string hex;
  for (const auto byte : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex += kDigits[std::to_integer<unsigned>(byte) >> 4];
    hex += kDigits[std::to_integer<unsigned>(byte) & 15];
  }
  EXPECT_EQ(hex,
            "564d534701000200"
            "0200000005000000"
            "0700000000000000"
            "000000000000f83f"
            "0300000000000000"
            "00000000"
            "a795faa5"
            "616263");
}

TEST(Message, OpensWhatWasEncoded) {
  const auto message = SharedBytes::copy_of(message_bytes());
  const auto opened = open_message(message, kKey, MessageKind::kContribution);
  EXPECT_EQ(opened.header, (MessageHeader{MessageKind::kContribution, 2, 5, 7, 1.5}));
  EXPECT_EQ(as_text(opened.body), "abc");
}

TEST(Message, RefusesEveryDamage) {
  const auto bytes = message_bytes();
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (const int bit : {0, 7}) {
      auto damaged = bytes;
      damaged[at] ^= std::byte{1} << bit;
      EXPECT_THAT(refusal(damaged), HasSubstr("a message is damaged (view 2, group 0, round 7")) << at;
    }
  }
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THAT(refusal(Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size))), HasSubstr("damaged"));
  }
  auto longer = bytes;
  longer.push_back(std::byte{0});
  EXPECT_THAT(refusal(longer), HasSubstr("its body has 4 bytes, not 3"));
}

TEST(Message, RefusesAnotherMessageThanTheKeySays) {
  auto key = kKey;
  key.view = 3;
  EXPECT_THAT(refusal(message_bytes(), key), HasSubstr("another message"));
  key = kKey;
  key.round = 8;
  EXPECT_THAT(refusal(message_bytes(), key), HasSubstr("another message"));
  EXPECT_THAT(refusal(message_bytes(), kKey, MessageKind::kSum), HasSubstr("another message"));
}

TEST(MessageKey, HoldsItsBytes) {
  const MessageKey key{.view = 1, .group = 2, .source = 3, .round = 4, .phase = 5, .destination = 6, .part = 7};
  Bytes bytes;
  ByteWriter out(bytes);
  encode_key(key, out);
  ASSERT_EQ(bytes.size(), kMessageKeyBytes);
  const std::vector<int> expected = {1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0,
                                     0, 0, 0, 0, 0, 5, 0, 6, 0, 0, 0, 7, 0, 0, 0};
  for (std::size_t i = 0; i < bytes.size(); ++i) EXPECT_EQ(std::to_integer<int>(bytes[i]), expected[i]) << i;
  ByteReader in(bytes, "key");
  EXPECT_EQ(decode_key(in), key);
}

}  // namespace
}  // namespace virga
