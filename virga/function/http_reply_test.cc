#include "virga/function/http_reply.h"

#include <gmock/gmock.h>

#include "virga/base/error.h"

namespace virga {
namespace {

using testing::HasSubstr;

/// The reply that `bytes` are, taken in pieces of `piece` bytes; then the connection is closed.
HttpReply read(std::string_view bytes, std::size_t piece = 1 << 20, std::size_t most_kept = 1 << 20) {
  HttpReplyReader reader(most_kept);
  while (!bytes.empty() && !reader.is_complete()) bytes.remove_prefix(reader.take(bytes.substr(0, piece)));
  if (!reader.is_complete()) reader.end();
  return reader.reply();
}

/// Why it is refused.
std::string refusal(std::string_view bytes) {
  try {
    static_cast<void>(read(bytes));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadData);
    return error.what();
  }
  return "not refused";
}

TEST(HttpReply, HasAStatusHeadersAndABodyOfKnownLength) {
  const std::string text = "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id:  7 \r\nContent-Length: 5\r\n\r\nhello";
  for (const std::size_t piece : {1U, 2U, 7U, 1000U}) {
    const auto reply = read(text, piece);
    EXPECT_EQ(reply.status, 200);
    ASSERT_NE(reply.header("lambda-runtime-aws-request-id"), nullptr);
    EXPECT_EQ(*reply.header("lambda-runtime-aws-request-id"), "7");
    EXPECT_EQ(reply.header("lambda"), nullptr);
    EXPECT_EQ(reply.body, "hello");
    EXPECT_EQ(reply.body_bytes, 5U);
    EXPECT_TRUE(reply.keeps_connection);
  }
}

TEST(HttpReply, MayComeInChunks) {
  const std::string text =
      "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n5\r\nhello\r\n0001;a=b\r\n \r\n6 \r\nworld!\r\n0\r\nA: "
      "b\r\n\r\n";
  for (const std::size_t piece : {1U, 2U, 7U, 1000U}) EXPECT_EQ(read(text, piece).body, "hello world!");
}

TEST(HttpReply, MayEndWithTheConnection) {
  const auto reply = read("HTTP/1.0 200 OK\r\n\r\nhello\r\n\r\n");
  EXPECT_EQ(reply.body, "hello\r\n\r\n");
  EXPECT_FALSE(reply.keeps_connection);
}

TEST(HttpReply, MayHaveNoBody) {
  EXPECT_EQ(read("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").status, 202);
  EXPECT_TRUE(read("HTTP/1.1 204\r\n\r\n").keeps_connection);
}

TEST(HttpReply, TakesNothingBeyondItsEnd) {
  const std::string text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  HttpReplyReader reader(100);
  EXPECT_EQ(reader.take(text + "HTTP/1.1"), text.size());
  EXPECT_TRUE(reader.is_complete());
  EXPECT_EQ(reader.take("more"), 0U);
}

TEST(HttpReply, SaysWhetherTheConnectionIsKept) {
  const auto keeps = [](const std::string& version, const std::string& header) {
    return read("HTTP/" + version + " 200 OK\r\n" + header + "Content-Length: 0\r\n\r\n").keeps_connection;
  };
  EXPECT_TRUE(keeps("1.1", ""));
  EXPECT_FALSE(keeps("1.1", "Connection: Close\r\n"));
  EXPECT_FALSE(keeps("1.0", ""));
  EXPECT_TRUE(keeps("1.0", "connection: Keep-Alive\r\n"));
}

TEST(HttpReply, PassesOverInterimReplies) {
  const auto reply = read("HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, "ok");
  EXPECT_EQ(reply.header("a"), nullptr);
}

TEST(HttpReply, KeepsOnlyTheBeginningOfALargeBodyAndCountsTheRest) {
  const auto body = std::string(6'000'000, 'x');
  const auto plain = read("HTTP/1.1 200 OK\r\nContent-Length: 6000000\r\n\r\n" + body, 1000, 10);
  EXPECT_EQ(plain.body, "xxxxxxxxxx");
  EXPECT_EQ(plain.body_bytes, 6'000'000U);
  const auto chunked =
      read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5b8d80\r\n" + body + "\r\n0\r\n\r\n", 1000, 10);
  EXPECT_EQ(chunked.body, plain.body);
  EXPECT_EQ(chunked.body_bytes, plain.body_bytes);
}

TEST(HttpReply, IsRefusedWhenItIsCutOff) {
  for (const std::string text : {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
                                 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"}) {
    for (std::size_t size = 0; size < text.size(); ++size)
      EXPECT_THAT(refusal(text.substr(0, size)), HasSubstr("cut off"));
  }
}

TEST(HttpReply, IsRefusedWhenItIsNoHttp) {
  for (const auto* line : {"", "SSH-2.0-OpenSSH", "HTTP/2 200 OK", "HTTP/1.1 20 OK", "HTTP/1.1 2000", "HTTP/1.1 099 OK",
                           "HTTP/1.1  200", " HTTP/1.1 200 OK"}) {
    EXPECT_THAT(refusal(std::string(line) + "\r\n\r\n"), HasSubstr("no status")) << line;
  }
  EXPECT_THAT(refusal("HTTP/1.1 101 Switching Protocols\r\n\r\n"), HasSubstr("changes the protocol"));
}

TEST(HttpReply, IsRefusedWithHeadersThatContradictEachOther) {
  const auto with = [](const std::string& headers) { return refusal("HTTP/1.1 200 OK\r\n" + headers + "\r\n12345"); };
  EXPECT_THAT(with("Content-Length: 1\r\nContent-Length: 2\r\n"), HasSubstr("content-length is there twice"));
  EXPECT_THAT(with("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), HasSubstr("both a length and chunks"));
  EXPECT_THAT(with("Transfer-Encoding: gzip, chunked\r\n"), HasSubstr("not chunked"));
  for (const auto* length : {"", "-1", "+1", "1 2", "0x5", "99999999999999999999", "67108865"}) {
    EXPECT_THAT(with(std::string("Content-Length: ") + length + "\r\n"), HasSubstr("its length is no number"))
        << length;
  }
  EXPECT_THAT(with("no header\r\n"), HasSubstr("no name"));
  EXPECT_THAT(with(": nothing\r\n"), HasSubstr("no name"));
  EXPECT_THAT(with("Content-Length : 1\r\n"), HasSubstr("no name"));
  EXPECT_THAT(with("A: b\r\n folded\r\n"), HasSubstr("no name"));
  EXPECT_THAT(with(std::string("A: \0\r\n", 6)), HasSubstr("no text"));
}

TEST(HttpReply, IsRefusedWithChunksThatAreNone) {
  const auto with = [](const std::string& body) {
    return refusal("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body);
  };
  for (const auto* size : {"", "x", "-1", "0x1", "4000001", "fffffffffffffffff"}) {
    EXPECT_THAT(with(std::string(size) + "\r\n"), HasSubstr("size of a chunk")) << size;
  }
  EXPECT_THAT(with("1\r\nab\r\n"), HasSubstr("longer than it says"));
}

TEST(HttpReply, IsRefusedBeyondItsLimits) {
  const std::string start = "HTTP/1.1 200 OK\r\n";
  EXPECT_THAT(refusal(start + "A: " + std::string(kMostReplyHeadBytes, 'b')),
              HasSubstr("its head exceeds 32768 bytes"));
  std::string interim;
  while (interim.size() <= kMostReplyHeadBytes) interim += "HTTP/1.1 100 Continue\r\n\r\n";
  EXPECT_THAT(refusal(interim), HasSubstr("its head exceeds"));
  const std::string megabyte(1 << 20, 'x');
  HttpReplyReader reader(10);
  reader.take("HTTP/1.1 200 OK\r\n\r\n");
  for (int i = 0; i < 64; ++i) reader.take(megabyte);
  EXPECT_THROW(reader.take("x"), Error);
}

}  // namespace
}  // namespace virga
