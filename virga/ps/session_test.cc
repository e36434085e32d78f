// What a session does with bytes, without sockets.
#include "virga/ps/session.h"

#include <gmock/gmock.h>

namespace virga {
namespace {

const PsKey kKey = {.view = 1, .round = 2};

/// A session that has said hello, and what it is told.
class Client {
 public:
  explicit Client(PsService& service) : session_(service, [this] { is_woken_ = true; }) {
    send(encode_request(PsHello{}));
    EXPECT_EQ(kinds(), std::vector{PsKind::kDone});
  }
  void send(ByteView bytes) { session_.take(bytes); }
  void put(const PsKey& key, std::uint64_t size) {
    send(encode_request(PsPut{{{key, size}}}));
    send(Bytes(size));
    EXPECT_EQ(kinds(), std::vector{PsKind::kDone});
  }
  /// Of all replies that are there; they are taken away.
  std::vector<PsKind> kinds() {
    std::vector<PsKind> all;
    while (!session_.out().empty()) {
      std::vector<iovec> vectors(64);
      vectors.resize(session_.out().gather(vectors));
      Bytes bytes;
      for (const auto& vector : vectors) {
        const auto* first = static_cast<const std::byte*>(vector.iov_base);
        bytes.insert(bytes.end(), first, first + vector.iov_len);
      }
      const auto frame = parse_frame(bytes);
      all.push_back(frame.kind);
      session_.sent(kPsFrameBytes + frame.head_bytes + frame.body_bytes);
    }
    return all;
  }
  PsSession& session() { return session_; }
  [[nodiscard]] bool is_woken() const { return is_woken_; }

 private:
  bool is_woken_ = false;
  PsSession session_;
};

using testing::ElementsAre;

TEST(PsSession, PushesAMessageAsSoonAsItIsPut) {
  PsService service("", 1 << 20);
  Client getter(service);
  Client putter(service);
  getter.send(encode_request(PsGet{.wait_ms = 60'000, .keys = {kKey}}));
  EXPECT_TRUE(getter.session().out().empty());
  EXPECT_FALSE(getter.is_woken());
  putter.put(kKey, 5);
  EXPECT_TRUE(getter.is_woken());
  EXPECT_THAT(getter.kinds(), ElementsAre(PsKind::kMessage, PsKind::kEnd));
}

TEST(PsSession, EndsAWaitWhenItsTimeIsOver) {
  PsService service("", 1 << 20);
  Client getter(service);
  getter.send(encode_request(PsGet{.wait_ms = 60'000, .keys = {kKey}}));
  ASSERT_TRUE(getter.session().due());
  getter.session().expired(*getter.session().due() - std::chrono::nanoseconds(1));
  EXPECT_TRUE(getter.session().out().empty());
  getter.session().expired(*getter.session().due());
  EXPECT_THAT(getter.kinds(), ElementsAre(PsKind::kEnd));
  EXPECT_FALSE(getter.session().due());

  getter.send(encode_request(PsWaitRegister{.wait_ms = 60'000, .version = 0, .name = "a"}));
  getter.session().expired(*getter.session().due());
  EXPECT_THAT(getter.kinds(), ElementsAre(PsKind::kValue));
}

TEST(PsSession, TakesRequestsByteByByte) {
  PsService service("", 1 << 20);
  Client client(service);
  auto request = encode_request(PsPut{{{kKey, 3}, {PsKey(), 0}}});
  request.resize(request.size() + 3);
  for (const auto byte : request) client.send({&byte, 1});
  EXPECT_THAT(client.kinds(), ElementsAre(PsKind::kDone));
  client.send(encode_request(PsTryGet{kKey}));
  EXPECT_THAT(client.kinds(), ElementsAre(PsKind::kValue));
}

TEST(PsSession, PinsNoMoreForASlowReaderThanItsShare) {
  PsService service("", std::uint64_t{64} << 20);
  Client putter(service);
  PsGet get = {.wait_ms = 60'000, .keys = {}};
  for (std::uint64_t round = 0; round < 16; ++round) {
    get.keys.push_back({.view = 1, .round = round});
    putter.put(get.keys.back(), 1 << 20);
  }
  Client slow(service);
  slow.send(encode_request(get));
  EXPECT_LT(slow.session().out().bytes(), std::uint64_t{6} << 20);

  // What is retired before it was sent is waited for again.
  putter.send(encode_request(PsRetire{.view = 1, .group = 0, .source = 0, .round = 15}));
  const auto first = slow.kinds().size();
  EXPECT_LT(first, 6U);
  EXPECT_TRUE(slow.session().due());
  putter.kinds();
  for (const auto& key : get.keys) putter.put(key, 1);
  EXPECT_EQ(slow.kinds().size(), 16 - first + 1);
}

TEST(PsSession, LeavesNothingBehind) {
  PsService service("", 1 << 20);
  {
    Client waits(service);
    waits.send(encode_request(PsGet{.wait_ms = 60'000, .keys = {kKey, PsKey()}}));
    Client half(service);
    half.send(encode_request(PsPut{{{kKey, 1000}}}));
    EXPECT_GT(service.memory(), 1000U);
    Client waits_too(service);
    waits_too.send(encode_request(PsWaitRegister{.wait_ms = 60'000, .version = 0, .name = "a"}));
  }
  EXPECT_EQ(service.memory(), 0U);
  EXPECT_EQ(service.jobs(), 0U);
}

TEST(PsSession, KeepsAJobThatHoldsSomething) {
  PsService service("", 1 << 20);
  { Client(service).put(kKey, 5); }
  EXPECT_EQ(service.jobs(), 1U);
  Client later(service);
  later.send(encode_request(PsTryGet{kKey}));
  EXPECT_GT(later.session().out().bytes(), kPsFrameBytes + 8);
}

TEST(PsService, BoundsWhatIsWaitedFor) {
  PsService service("", 1 << 20);
  service.begin_waits(kPsMaxWaits - 1);
  EXPECT_THROW(service.begin_waits(2), Error);
  service.begin_waits(1);
  service.end_waits(kPsMaxWaits);
}

}  // namespace
}  // namespace virga
