#include "virga/collective/round_inbox.h"

#include <chrono>
#include <set>
#include <string>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/channel/memory_channel.h"
#include "virga/collective/outbox.h"

namespace virga {
namespace {

using namespace std::chrono_literals;

Wait inbox_time() { return {Deadline::in(20s)}; }

void put_round(Channel& channel, std::uint32_t source, std::uint64_t round, std::string_view text) {
  const ByteView part = as_bytes(text);
  const Outgoing message{message_key({.view = 1, .rank = source, .size = 3}, round, 4, source, kEverybody), {&part, 1}};
  channel.put({&message, 1}, inbox_time());
}

TEST(RoundInbox, HandsOverEachMessageOnceWithinItsWindow) {
  MemoryChannel channel;
  RoundInbox inbox(channel, {.group = {.view = 1, .rank = 0, .size = 3}, .phase = 4, .first = 5, .window = 2});
  std::set<std::string> all;
  const auto wait_for = [&](std::size_t count) {
    while (all.size() < count) {
      for (const auto& [key, message] : inbox.wait(inbox_time())) {
        EXPECT_TRUE(all.insert(std::to_string(key.round) + std::string(as_text(message.view()))).second);
      }
    }
  };
  put_round(channel, 2, 7, "late");  // not in the window as long as round 5 is not whole
  put_round(channel, 2, 6, "b");
  put_round(channel, 1, 5, "c");
  wait_for(2);
  EXPECT_THAT(all, testing::ElementsAre("5c", "6b"));
  put_round(channel, 2, 5, "d");
  wait_for(4);
  EXPECT_TRUE(all.contains("7late"));
  EXPECT_THAT(inbox.take(), testing::IsEmpty());
}

TEST(RoundInbox, EndsItsWaitsAtTheDeadlineWhenItIsStoppedAndWhenItDies) {
  MemoryChannel channel;
  std::stop_source stop;
  RoundInbox inbox(channel, {.group = {.view = 1, .rank = 0, .size = 2}, .window = 3, .stop = stop.get_token()});
  EXPECT_THAT(inbox.wait({Deadline::in(1ms)}), testing::IsEmpty());
  stop.request_stop();
  EXPECT_THROW((void)inbox.wait({Deadline::in(20s), stop.get_token()}), Error);
  const RoundInbox another(channel, {.group = {.view = 1, .rank = 0, .size = 2}});
}

/// A channel that cannot be reached.
class GoneChannel final : public Channel {
 public:
  void put(std::span<const Outgoing>, const Wait&) override { gone(); }
  void get(std::span<const MessageKey>, const OnMessage&, const Wait&) override { gone(); }
  std::optional<SharedBytes> try_get(const MessageKey&, const Wait&) override { gone(); }
  void retire(std::uint32_t, std::uint32_t, std::uint32_t, std::uint64_t, const Wait&) override { gone(); }
  void sweep(std::uint32_t, const Wait&) override { gone(); }
  ChannelContents contents(const Wait&) override { gone(); }
  std::size_t max_message_bytes() const noexcept override { return 1; }
  const std::string& uri() const noexcept override { return uri_; }

 private:
  [[noreturn]] static void gone() { throw Error(ErrorKind::kUnavailable, "gone"); }
  const std::string uri_ = "gone";
};

TEST(RoundInbox, SaysThatItsChannelFailed) {
  GoneChannel channel;
  RoundInbox inbox(channel, {.group = {.view = 1, .rank = 0, .size = 2}});
  try {
    (void)inbox.wait(inbox_time());
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnavailable);
  }
}

}  // namespace
}  // namespace virga
