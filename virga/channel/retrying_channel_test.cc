#include "virga/channel/retrying_channel.h"

#include <chrono>
#include <deque>
#include <map>
#include <stop_token>
#include <vector>

#include <gmock/gmock.h>

#include "virga/channel/channel_testing.h"
#include "virga/channel/memory_channel.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

/// Fails as it is told: one entry for each call to come.
class FailingChannel final : public Channel {
 public:
  struct Failure {
    ErrorKind kind;
    std::size_t after = 0;  ///< of a get: so many messages were handed over before
  };
  void fail(std::initializer_list<Failure> failures) { failures_.assign(failures); }
  /// How many keys or messages each call named.
  std::vector<std::size_t> calls;

  void put(std::span<const Outgoing> messages, const Wait& wait) override {
    calls.push_back(messages.size());
    memory_.put(messages, wait);
    fail_next();  // it has taken place
  }
  void get(std::span<const MessageKey> keys, const OnMessage& on_message, const Wait& wait) override {
    calls.push_back(keys.size());
    const auto before = failures_.empty() ? keys.size() : failures_.front().after;
    memory_.get(keys.first(before), on_message, wait);
    fail_next();
  }
  std::optional<SharedBytes> try_get(const MessageKey& key, const Wait& wait) override {
    calls.push_back(1);
    fail_next();
    return memory_.try_get(key, wait);
  }
  void retire(std::uint32_t view, std::uint32_t group, std::uint32_t source, std::uint64_t round,
              const Wait& wait) override {
    calls.push_back(1);
    fail_next();
    memory_.retire(view, group, source, round, wait);
  }
  void sweep(std::uint32_t view, const Wait& wait) override {
    calls.push_back(1);
    fail_next();
    memory_.sweep(view, wait);
  }
  ChannelContents contents(const Wait& wait) override {
    calls.push_back(1);
    fail_next();
    return memory_.contents(wait);
  }
  [[nodiscard]] std::size_t max_message_bytes() const noexcept override { return memory_.max_message_bytes(); }
  [[nodiscard]] const std::string& uri() const noexcept override { return memory_.uri(); }

 private:
  void fail_next() {
    if (failures_.empty()) return;
    const auto failure = failures_.front();
    failures_.pop_front();
    throw Error(failure.kind, "the store failed", "mend it");
  }

  MemoryChannel memory_;
  std::deque<Failure> failures_;
};

constexpr RetryOptions kQuick{.attempts = 3, .first_pause = 1us, .longest_pause = 4us, .seed = 1};

class RetryingChannelTest : public testing::Test {
 protected:
  FailingChannel failing_;
  RetryingChannel channel_{failing_, kQuick};
};

TEST_F(RetryingChannelTest, MakesCallsAgain) {
  failing_.fail({{ErrorKind::kUnavailable}, {ErrorKind::kThrottled}});
  put_text(channel_, {}, "x");
  failing_.fail({{ErrorKind::kThrottled}});
  EXPECT_EQ(try_get_text(channel_, {}), "x");
  failing_.fail({{ErrorKind::kThrottled}});
  EXPECT_EQ(channel_.contents(soon()).messages, 1U);
  failing_.fail({{ErrorKind::kThrottled}});
  channel_.retire(0, 0, 0, 0, soon());
  EXPECT_EQ(try_get_text(channel_, {}), std::nullopt);
  failing_.fail({{ErrorKind::kThrottled}});
  channel_.sweep(1, soon());
  EXPECT_EQ(channel_.retries(), 6U);
}

TEST_F(RetryingChannelTest, EndsWithTheLastError) {
  failing_.fail({{ErrorKind::kUnavailable}, {ErrorKind::kUnavailable}, {ErrorKind::kThrottled}});
  try {
    put_text(channel_, {}, "x");
    FAIL() << "three failures are too many";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kThrottled);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("the store failed"), HasSubstr("attempt 3 of 3")));
    EXPECT_EQ(error.remedy(), "mend it");
  }
  EXPECT_EQ(failing_.calls.size(), 3U);
}

TEST_F(RetryingChannelTest, HandsOnWhatNoRepetitionMends) {
  for (const auto kind : {ErrorKind::kConflict, ErrorKind::kTooLarge, ErrorKind::kCorrupt, ErrorKind::kUnauthorized,
                          ErrorKind::kInterrupted, ErrorKind::kDeadlineExceeded}) {
    failing_.fail({{kind}});
    EXPECT_EQ(kind_of_error([&] { put_text(channel_, {}, "x"); }), kind);
  }
  EXPECT_EQ(failing_.calls.size(), 6U);
  EXPECT_EQ(channel_.retries(), 0U);
}

std::vector<MessageKey> keys_of(std::uint32_t count) {
  std::vector<MessageKey> keys(count);
  for (std::uint32_t i = 0; i < count; ++i) keys[i].source = i;
  return keys;
}

TEST_F(RetryingChannelTest, HandsEachMessageOverOnce) {
  for (const auto& key : keys_of(6)) put_text(channel_, key, "x");
  failing_.calls.clear();
  failing_.fail({{ErrorKind::kUnavailable, 2},
                 {ErrorKind::kUnavailable, 0},
                 {ErrorKind::kUnavailable, 1},
                 {ErrorKind::kUnavailable, 0},
                 {ErrorKind::kUnavailable, 2}});
  std::map<MessageKey, int> seen;
  channel_.get(
      keys_of(6), [&](const MessageKey& key, const SharedBytes&) { ++seen[key]; }, soon());
  EXPECT_EQ(seen.size(), 6U);
  for (const auto& [key, times] : seen) EXPECT_EQ(times, 1);
  EXPECT_THAT(failing_.calls, ElementsAre(6, 4, 4, 3, 3, 1)) << "progress renews the attempts";
}

TEST_F(RetryingChannelTest, TakesAFailureAfterTheLastMessageForNone) {
  put_text(channel_, {}, "x");
  failing_.fail({{ErrorKind::kUnavailable, 1}});
  EXPECT_EQ(get_text(channel_, {}), "x");
  EXPECT_EQ(channel_.retries(), 0U);
}

TEST_F(RetryingChannelTest, GivesUpAGetWithoutProgress) {
  for (const auto& key : keys_of(2)) put_text(channel_, key, "x");
  failing_.fail(
      {{ErrorKind::kUnavailable, 1}, {ErrorKind::kUnavailable}, {ErrorKind::kUnavailable}, {ErrorKind::kUnavailable}});
  int seen = 0;
  EXPECT_EQ(kind_of_error([&] {
              channel_.get(
                  keys_of(2), [&](const auto&, const auto&) { ++seen; }, soon());
            }),
            ErrorKind::kUnavailable);
  EXPECT_EQ(seen, 1);
}

TEST_F(RetryingChannelTest, HandsOnWhatTheReceiverThrows) {
  put_text(channel_, {}, "x");
  int seen = 0;
  EXPECT_EQ(text_of_error([&] {
              channel_.get(
                  keys_of(1),
                  [&](const auto&, const auto&) {
                    ++seen;
                    throw Error(ErrorKind::kUnavailable, "the receiver's");
                  },
                  soon());
            }),
            "the receiver's");
  EXPECT_EQ(seen, 1);
}

TEST(RetryingChannel, DoesNotPauseBeyondTheDeadline) {
  FailingChannel failing;
  RetryingChannel channel(failing, {.first_pause = 1h, .longest_pause = 1h});
  failing.fail({{ErrorKind::kUnavailable}});
  EXPECT_EQ(kind_of_error([&] { put_text(channel, {}, "x"); }), ErrorKind::kDeadlineExceeded);
  failing.fail({{ErrorKind::kUnavailable}});
  EXPECT_THAT(text_of_error([&] {
                channel.get(
                    keys_of(3), [](const auto&, const auto&) {}, soon());
              }),
              AllOf(HasSubstr("the store failed"), HasSubstr("did not come: 3"), HasSubstr("round 0")));
}

TEST(RetryingChannel, EndsAPauseWhenAskedTo) {
  FailingChannel failing;
  RetryingChannel channel(failing, {.first_pause = 1h, .longest_pause = 1h});
  failing.fail({{ErrorKind::kUnavailable}});
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(kind_of_error([&] {
              put_text(channel, {}, "x", {Deadline::in(3h), stop.get_token()});
            }),
            ErrorKind::kInterrupted);
}

}  // namespace
}  // namespace virga
