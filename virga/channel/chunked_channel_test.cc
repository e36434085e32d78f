#include "virga/channel/chunked_channel.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <map>
#include <numeric>
#include <stop_token>
#include <thread>
#include <vector>

#include <gmock/gmock.h>

#include "virga/channel/channel_testing.h"
#include "virga/channel/memory_channel.h"
#include "virga/channel/metered_channel.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/// Parts with 4 bytes of the message in each.
constexpr std::size_t kPartBytes = MessageParts::kHeaderBytes + 4;

/// What the message looks like in the inner channel.
std::string part_text(const MessageParts& parts, std::string_view body) {
  const auto header = encode_header(parts);
  return std::string(as_text(header)) + std::string(body);
}

TEST(ChunkedChannel, PutsPartsAsTheFormatSays) {
  MemoryChannel memory(kPartBytes);
  ChunkedChannel channel(memory);
  put_text(channel, {.round = 5, .part = 3}, "abcdefghij");
  const MessageParts parts{.message_bytes = 10, .body_bytes = 4};
  EXPECT_EQ(try_get_text(memory, {.round = 5, .part = 0x300000}), part_text(parts, "abcd"));
  EXPECT_EQ(try_get_text(memory, {.round = 5, .part = 0x300001}), part_text(parts, "efgh"));
  EXPECT_EQ(try_get_text(memory, {.round = 5, .part = 0x300002}), part_text(parts, "ij"));
  EXPECT_EQ(memory.contents(soon()).messages, 3U);
  EXPECT_EQ(channel.contents(soon()).bytes, 10U);
}

TEST(ChunkedChannel, CutsAcrossBuffersOfEverySize) {
  std::string text(40, ' ');
  std::iota(text.begin(), text.end(), 'A');
  for (std::size_t size = 0; size <= text.size(); ++size) {
    for (const std::size_t step : {1U, 3U, 4U, 5U, 8U, 40U}) {
      MemoryChannel memory(kPartBytes);
      ChunkedChannel channel(memory);
      std::vector<ByteView> buffers = {{}};
      for (std::size_t at = 0; at < size; at += step) {
        buffers.push_back(as_bytes(std::string_view(text).substr(at, std::min(step, size - at))));
        buffers.emplace_back();
      }
      channel.put(std::vector<Outgoing>{{{.round = 1}, buffers}}, soon());
      ASSERT_EQ(get_text(channel, {.round = 1}), text.substr(0, size));
      ASSERT_EQ(try_get_text(channel, {.round = 1}), text.substr(0, size));
    }
  }
}

TEST(ChunkedChannel, HandsALargeMessageOverBeforeOthersCome) {
  MemoryChannel memory(kPartBytes);
  ChunkedChannel channel(memory);
  std::atomic<int> seen = 0;
  std::jthread sender([&] {
    put_text(channel, {.round = 1}, "a large message");
    while (seen == 0) std::this_thread::yield();
    put_text(channel, {.round = 2}, "x");
  });
  std::map<std::uint64_t, std::string> found;
  channel.get(
      std::vector<MessageKey>{{.round = 1}, {.round = 2}},
      [&](const MessageKey& key, const SharedBytes& bytes) {
        found[key.round] = as_text(bytes.view());
        ++seen;
      },
      soon());
  EXPECT_EQ(found, (std::map<std::uint64_t, std::string>{{1, "a large message"}, {2, "x"}}));
}

TEST(ChunkedChannel, AsksOnceMoreForAllPartsThatItDidNotKnowOf) {
  MemoryChannel memory(kPartBytes);
  MeteredChannel metered(memory);
  ChunkedChannel channel(metered);
  std::vector<MessageKey> keys;
  for (std::uint32_t source = 0; source < 10; ++source) {
    keys.push_back({.source = source});
    put_text(channel, keys.back(), "a large message");
  }
  int seen = 0;
  channel.get(
      keys, [&](const MessageKey&, const SharedBytes&) { ++seen; }, soon());
  EXPECT_EQ(seen, 10);
  EXPECT_EQ(metered.use().get.calls, 2U);
  EXPECT_EQ(metered.use().get.requests, 40U);
  EXPECT_EQ(metered.use().get.messages, 40U);
}

TEST(ChunkedChannel, ShowsAMessageWhenItsLastPartHasCome) {
  MemoryChannel memory(kPartBytes);
  ChunkedChannel channel(memory);
  const MessageParts parts{.message_bytes = 10, .body_bytes = 4};
  const auto nothing = [&] { return !channel.try_get({}, soon()).has_value(); };
  put_text(memory, {.part = 2}, part_text(parts, "ij"));
  EXPECT_TRUE(nothing());
  put_text(memory, {.part = 0}, part_text(parts, "abcd"));
  EXPECT_TRUE(nothing());
  EXPECT_THAT(
      text_of_error([&] {
        channel.get(std::vector<MessageKey>{{}, {.round = 7}}, [](const auto&, const auto&) {}, {Deadline::in(5ms)});
      }),
      AllOf(HasSubstr("2 messages did not come"), HasSubstr("round 7"), Not(HasSubstr("part 1"))));
  put_text(memory, {.part = 1}, part_text(parts, "efgh"));
  EXPECT_EQ(get_text(channel, {}), "abcdefghij");
}

TEST(ChunkedChannel, ReadsPartsOfAnySize) {
  MemoryChannel memory;
  const std::string text(1000, 'x');
  MemoryChannel small(100);
  ChunkedChannel sender(small);
  put_text(sender, {}, text);
  // The receiver's inner channel takes larger messages than the sender's.
  for (std::uint32_t part = 0; const auto bytes = small.try_get({.part = part}, soon()); ++part) {
    put_text(memory, {.part = part}, as_text(bytes->view()));
  }
  ChunkedChannel receiver(memory);
  EXPECT_EQ(get_text(receiver, {}), text);
}

TEST(ChunkedChannel, RefusesPartsThatMakeNoMessage) {
  const auto kinds = [](const std::vector<std::string>& parts) {
    MemoryChannel memory;
    ChunkedChannel channel(memory);
    for (std::uint32_t i = 0; i < parts.size(); ++i) put_text(memory, {.part = i}, parts[i]);
    return std::array{kind_of_error([&] { (void)get_text(channel, {}); }),
                      kind_of_error([&] { (void)channel.try_get({}, soon()); })};
  };
  const auto corrupt = testing::Each(ErrorKind::kCorrupt);
  const MessageParts good{.message_bytes = 10, .body_bytes = 5};
  EXPECT_THAT(kinds({""}), corrupt);
  EXPECT_THAT(kinds({"short"}), corrupt);
  EXPECT_THAT(kinds({"no header, but long enough"}), corrupt);
  EXPECT_THAT(kinds({part_text(good, "abcd")}), corrupt);
  EXPECT_THAT(kinds({part_text(good, "abcde"), part_text({.message_bytes = 10, .body_bytes = 6}, "fghij")}), corrupt);
  EXPECT_THAT(kinds({part_text(good, "abcde"), part_text(good, "fghi")}), corrupt);
  // What a hostile header announces is not believed, and no memory is taken for it.
  EXPECT_THAT(kinds({part_text({.message_bytes = ~std::uint64_t{0}, .body_bytes = 5}, "abcde")}), corrupt);
  EXPECT_THAT(kinds({part_text({.message_bytes = std::uint64_t{1} << 40, .body_bytes = 1 << 29}, "abcde")}), corrupt);
}

TEST(ChunkedChannel, NamesThePartThatItRefuses) {
  MemoryChannel memory;
  ChunkedChannel channel(memory);
  const MessageParts parts{.message_bytes = 10, .body_bytes = 5};
  put_text(memory, {.round = 17, .part = 0}, part_text(parts, "abcde"));
  put_text(memory, {.round = 17, .part = 1}, part_text(parts, "fghi"));
  const auto names_it =
      AllOf(HasSubstr("memory:"), HasSubstr("4 bytes came"), HasSubstr("round 17"), HasSubstr("part 1"));
  EXPECT_THAT(text_of_error([&] { (void)get_text(channel, {.round = 17}); }), names_it);
  EXPECT_THAT(text_of_error([&] { (void)channel.try_get({.round = 17}, soon()); }), names_it);
}

TEST(ChunkedChannel, SaysHowMuchItTakes) {
  MemoryChannel tiny(MessageParts::kHeaderBytes);
  EXPECT_EQ(kind_of_error([&] { ChunkedChannel channel(tiny); }), ErrorKind::kUsage);
  MemoryChannel one(MessageParts::kHeaderBytes + 1);
  ChunkedChannel channel(one);
  EXPECT_EQ(channel.max_message_bytes(), std::size_t{1} << 20);
  EXPECT_EQ(kind_of_error([&] { put_text(channel, {}, std::string((1 << 20) + 1, 'x')); }), ErrorKind::kTooLarge);
  EXPECT_EQ(kind_of_error([&] { put_text(channel, {.part = 4096}, "x"); }), ErrorKind::kUsage);
  put_text(channel, {.part = 4095}, "xyz");
  EXPECT_EQ(get_text(channel, {.part = 4095}), "xyz");
  MemoryChannel large;
  EXPECT_EQ(ChunkedChannel(large).max_message_bytes(), std::size_t{1} << 40);
}

TEST(ChunkedChannel, HandsOnWhatTheReceiverThrowsWhateverItIs) {
  MemoryChannel memory(kPartBytes);
  ChunkedChannel channel(memory);
  put_text(channel, {}, "a large message");
  for (const auto kind : {ErrorKind::kInterrupted, ErrorKind::kDeadlineExceeded, ErrorKind::kUnavailable}) {
    EXPECT_EQ(text_of_error([&] {
                channel.get(
                    std::vector<MessageKey>{{}}, [&](const auto&, const auto&) { throw Error(kind, "mine"); }, soon());
              }),
              "mine");
  }
}

TEST(ChunkedChannel, EndsAWaitForTheRestOfAMessage) {
  MemoryChannel memory(kPartBytes);
  ChunkedChannel channel(memory);
  put_text(memory, {}, part_text({.message_bytes = 10, .body_bytes = 4}, "abcd"));
  std::stop_source stop;
  std::jthread stopper([&] { stop.request_stop(); });
  EXPECT_EQ(kind_of_error([&] {
              channel.get(std::vector<MessageKey>{{}}, [](const auto&, const auto&) {},
                          {Deadline::in(20s), stop.get_token()});
            }),
            ErrorKind::kInterrupted);
}

}  // namespace
}  // namespace virga
