#include "virga/ps/protocol.h"

#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "virga/base/error.h"

namespace virga {
namespace {

using testing::HasSubstr;

const PsKey kKey = {.view = 1, .group = 2, .source = 3, .round = 4, .phase = 5, .destination = 6, .part = 7};
constexpr auto kKeyHex =
    "01000000020000000300000004000000000000000500"
    "0600000007000000";

std::string hex(ByteView bytes) {
  std::string text;
  for (const auto byte : bytes) text += fmt::format("{:02x}", std::to_integer<int>(byte));
  return text;
}

/// A frame that has been encoded, as its parser takes it.
template <typename Parse>
auto parse(const Parse& parser, ByteView bytes) {
  return parser(parse_frame(bytes.first(kPsFrameBytes)), bytes.subspan(kPsFrameBytes));
}

std::vector<PsRequest> all_requests() {
  return {PsHello{"secret", "job"},
          PsPing{},
          PsPut{{{kKey, 9}, {PsKey(), 0}}},
          PsGet{.wait_ms = 1500, .keys = {kKey, PsKey()}},
          PsTryGet{kKey},
          PsRetire{.view = 1, .group = 2, .source = 3, .round = 4},
          PsSweep{7},
          PsContents{},
          PsReadRegister{"name"},
          PsWriteRegister{"name", 12},
          PsExchangeRegister{.expected = 3, .name = "name", .bytes = 12},
          PsWaitRegister{.wait_ms = 10, .version = 2, .name = "name"},
          PsRemoveRegister{"name"}};
}

std::vector<PsReply> all_replies() {
  return {PsDone{},        PsError{ErrorKind::kConflict, "what", "remedy"},
          PsMessage{2, 5}, PsEnd{{1, 4}},
          PsStored{2, 30}, PsValue{.version = 3, .bytes = 8},
          PsVersion{9}};
}

TEST(PsProtocol, ReadsWhatItHasWritten) {
  for (const auto& request : all_requests()) EXPECT_EQ(parse(parse_request, encode_request(request)), request);
  for (const auto& reply : all_replies()) EXPECT_EQ(parse(parse_reply, encode_reply(reply)), reply);
}

TEST(PsProtocol, HasTheseBytes) {
  EXPECT_EQ(hex(encode_request(PsHello{"ab", "j"})),
            "010000000d0000000000000000000000"
            "56525053"
            "0100"
            "02006162"
            "01006a");
  EXPECT_EQ(hex(encode_request(PsPing{})), "02000000000000000000000000000000");
  EXPECT_EQ(hex(encode_request(PsPut{{{kKey, 258}}})), std::string("030000002a0000000201000000000000"
                                                                   "01000000") +
                                                           kKeyHex + "0201000000000000");
  EXPECT_EQ(hex(encode_request(PsGet{.wait_ms = 16, .keys = {kKey}})), std::string("04000000260000000000000000000000"
                                                                                   "10000000"
                                                                                   "01000000") +
                                                                           kKeyHex);
  EXPECT_EQ(hex(encode_request(PsTryGet{kKey})), std::string("050000001e0000000000000000000000") + kKeyHex);
  EXPECT_EQ(hex(encode_request(PsRetire{.view = 1, .group = 2, .source = 3, .round = 4})),
            "06000000140000000000000000000000"
            "01000000"
            "02000000"
            "03000000"
            "0400000000000000");
  EXPECT_EQ(hex(encode_request(PsSweep{7})),
            "07000000040000000000000000000000"
            "07000000");
  EXPECT_EQ(hex(encode_request(PsContents{})), "08000000000000000000000000000000");
  EXPECT_EQ(hex(encode_request(PsReadRegister{"n"})),
            "09000000030000000000000000000000"
            "01006e");
  EXPECT_EQ(hex(encode_request(PsWriteRegister{"n", 5})),
            "0a000000030000000500000000000000"
            "01006e");
  EXPECT_EQ(hex(encode_request(PsExchangeRegister{.expected = 2, .name = "n", .bytes = 5})),
            "0b0000000b0000000500000000000000"
            "0200000000000000"
            "01006e");
  EXPECT_EQ(hex(encode_request(PsWaitRegister{.wait_ms = 16, .version = 2, .name = "n"})),
            "0c0000000f0000000000000000000000"
            "10000000"
            "0200000000000000"
            "01006e");
  EXPECT_EQ(hex(encode_request(PsRemoveRegister{"n"})),
            "0d000000030000000000000000000000"
            "01006e");

  EXPECT_EQ(hex(encode_reply(PsDone{})), "40000000000000000000000000000000");
  EXPECT_EQ(hex(encode_reply(PsError{ErrorKind::kConflict, "w", "r"})),
            "41000000070000000000000000000000"
            "01"
            "010077"
            "010072");
  EXPECT_EQ(hex(encode_reply(PsMessage{2, 5})),
            "42000000040000000500000000000000"
            "02000000");
  EXPECT_EQ(hex(encode_reply(PsEnd{{3}})),
            "43000000080000000000000000000000"
            "01000000"
            "03000000");
  EXPECT_EQ(hex(encode_reply(PsStored{2, 3})),
            "44000000100000000000000000000000"
            "0200000000000000"
            "0300000000000000");
  EXPECT_EQ(hex(encode_reply(PsValue{.version = 3, .bytes = 8})),
            "45000000080000000800000000000000"
            "0300000000000000");
  EXPECT_EQ(hex(encode_reply(PsVersion{9})),
            "46000000080000000000000000000000"
            "0900000000000000");
}

TEST(PsProtocol, NumbersTheKindsOfErrors) {
  const std::vector<ErrorKind> kinds = {ErrorKind::kInternal,     ErrorKind::kConflict, ErrorKind::kTooLarge,
                                        ErrorKind::kUnauthorized, ErrorKind::kCorrupt,  ErrorKind::kThrottled,
                                        ErrorKind::kUnsupported};
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    EXPECT_EQ(encode_reply(PsError{kinds[i], "", ""})[kPsFrameBytes], std::byte(i));
  }
}

TEST(PsProtocol, RefusesEveryHeadThatIsCutOffOrTooLong) {
  for (const auto& request : all_requests()) {
    const auto bytes = encode_request(request);
    const auto frame = parse_frame(bytes);
    const auto head = ByteView(bytes).subspan(kPsFrameBytes);
    for (std::size_t size = 0; size < head.size(); ++size) {
      EXPECT_THROW(static_cast<void>(parse_request(frame, head.first(size))), Error) << size;
    }
    Bytes longer(head.begin(), head.end());
    longer.push_back({});
    EXPECT_THROW(static_cast<void>(parse_request(frame, longer)), Error);
  }
}

TEST(PsProtocol, RefusesLengthsBeforeItAllocatesThem) {
  auto bytes = encode_request(PsPing{});
  const std::uint32_t huge = kPsMaxHeadBytes + 1;
  std::memcpy(&bytes[4], &huge, sizeof(huge));
  EXPECT_THROW(static_cast<void>(parse_frame(bytes)), Error);

  bytes = encode_request(PsGet{.wait_ms = 0, .keys = {kKey}});
  const std::uint32_t count = 0xffffffff;
  std::memcpy(&bytes[kPsFrameBytes + 4], &count, sizeof(count));
  EXPECT_THROW(static_cast<void>(parse(parse_request, bytes)), Error);

  bytes = encode_request(PsWriteRegister{"n", kPsMaxBodyBytes + 1});
  EXPECT_THROW(static_cast<void>(parse(parse_request, bytes)), Error);
}

TEST(PsProtocol, RefusesAPutWhoseSizesDoNotAddUp) {
  auto bytes = encode_request(PsPut{{{kKey, 9}}});
  bytes[8] = std::byte{10};
  EXPECT_THROW(static_cast<void>(parse(parse_request, bytes)), Error);
}

TEST(PsProtocol, NamesTheVersionThatItDoesNotSpeak) {
  auto bytes = encode_request(PsHello{});
  bytes[kPsFrameBytes + 4] = std::byte{2};
  try {
    static_cast<void>(parse(parse_request, bytes));
    FAIL() << "taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupported);
    EXPECT_THAT(error.what(), HasSubstr("version 2"));
  }
}

}  // namespace
}  // namespace virga
