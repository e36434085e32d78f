#include "virga/channel/resp.h"

#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "virga/channel/channel_testing.h"

namespace virga {
namespace {

using Kind = RespValue::Kind;

/// All values in `text`, which comes in pieces of `piece` bytes.
std::vector<RespValue> values_of(std::string_view text, std::size_t piece) {
  RespReader reader(1000);
  std::vector<RespValue> values;
  while (!text.empty()) {
    auto bytes = as_bytes(text.substr(0, piece));
    text.remove_prefix(bytes.size());
    while (!bytes.empty()) {
      if (reader.feed(bytes)) values.push_back(reader.take());
    }
  }
  return values;
}

TEST(Resp, ReadsEveryKindOfValueHoweverItIsCut) {
  constexpr std::string_view kText =
      "+OK\r\n-ERR no\r\n:-17\r\n$5\r\na\r\nbc\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n*2\r\n*1\r\n:3\r\n$1\r\nx\r\n";
  for (const std::size_t piece : {1U, 2U, 3U, 7U, 1000U}) {
    const auto values = values_of(kText, piece);
    ASSERT_EQ(values.size(), 9U) << piece;
    EXPECT_TRUE(values[0].is(Kind::kStatus));
    EXPECT_EQ(values[0].text, "OK");
    EXPECT_TRUE(values[1].is(Kind::kError));
    EXPECT_EQ(values[1].text, "ERR no");
    EXPECT_EQ(values[2].integer, -17);
    EXPECT_EQ(values[3].bytes_text(), "a\r\nbc");
    EXPECT_TRUE(values[4].is(Kind::kBytes));
    EXPECT_EQ(values[4].bytes_text(), "");
    EXPECT_TRUE(values[5].is(Kind::kNothing));
    EXPECT_TRUE(values[6].is(Kind::kNothing));
    EXPECT_TRUE(values[7].is(Kind::kArray));
    ASSERT_EQ(values[8].items.size(), 2U);
    EXPECT_EQ(values[8].items[0].items.at(0).integer, 3);
    EXPECT_EQ(values[8].items[1].bytes_text(), "x");
  }
}

TEST(Resp, RefusesWhatIsNoAnswer) {
  for (const auto* text :
       {"\r\n", "hello\r\n", ":\r\n", ":1x\r\n", "$-2\r\n", "$1001\r\n", "$1\r\nab\r\n", "*-2\r\n", "*1048577\r\n",
        "+OK\n", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "*1048576\r\n*1\r\n"}) {
    EXPECT_EQ(kind_of_error([&] { (void)values_of(text, 1000); }), ErrorKind::kCorrupt) << text;
  }
  EXPECT_EQ(kind_of_error([&] { (void)values_of("+" + std::string(70'000, 'x'), 1000); }), ErrorKind::kCorrupt);
}

TEST(Resp, PutsAStringWhereItIsWantedIfItFits) {
  RespReader reader(1000);
  std::vector<std::byte> to(3);
  auto bytes = as_bytes("$3\r\nabc\r\n$2\r\nde\r\n");
  reader.direct(to);
  ASSERT_TRUE(reader.feed(bytes));
  const auto first = reader.take();
  EXPECT_EQ(as_text(to), "abc");
  EXPECT_EQ(first.integer, 3);
  EXPECT_EQ(first.bytes.size(), 0U);
  reader.direct(to);
  ASSERT_TRUE(reader.feed(bytes));
  EXPECT_EQ(reader.take().bytes_text(), "de");
  EXPECT_EQ(as_text(to), "abc");
}

TEST(Resp, WritesCommandsWithoutCopyingTheirLongArguments) {
  for (const bool is_long : {false, true}) {
    const std::string body(is_long ? 9'999 : 999, 'x');
    const std::vector<ByteView> parts = {as_bytes(body), {}, as_bytes("!")};
    RespRequest request;
    request.command({"GET", "a"}).command(3).add("SET").add(std::int64_t{-5}).add(parts);
    std::string text;
    const auto sent = request.parts();
    for (const auto& part : sent) text += as_text(part);
    EXPECT_EQ(text, fmt::format("*2\r\n$3\r\nGET\r\n$1\r\na\r\n*3\r\n$3\r\nSET\r\n$2\r\n-5\r\n${}\r\n{}!\r\n",
                                body.size() + 1, body));
    EXPECT_EQ(request.commands(), 2U);
    ASSERT_EQ(sent.size(), is_long ? 4U : 1U);
    if (is_long) {
      EXPECT_EQ(as_text(sent[1]).data(), body.data());
    }
  }
}

}  // namespace
}  // namespace virga
