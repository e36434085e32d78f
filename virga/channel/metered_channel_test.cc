#include "virga/channel/metered_channel.h"

#include <chrono>
#include <thread>
#include <vector>

#include <gmock/gmock.h>

#include "virga/base/threads.h"
#include "virga/channel/channel_testing.h"
#include "virga/channel/memory_channel.h"

namespace virga {
namespace {

using namespace std::chrono_literals;

/// Without the time, which is never the same.
CallUse counts(CallUse use) {
  use.waiting = 0ns;
  return use;
}

const auto ignore = [](const MessageKey&, const SharedBytes&) {};

TEST(MeteredChannel, CountsEachKindOfCall) {
  MemoryChannel memory;
  MeteredChannel channel(memory);
  const std::vector<ByteView> parts = {as_bytes("ab"), as_bytes("c")};
  channel.put(std::vector<Outgoing>{{{.round = 0}, parts}, {{.round = 1}, parts}}, soon());
  channel.get(std::vector<MessageKey>{{.round = 0}, {.round = 1}}, ignore, soon());
  (void)channel.try_get({.round = 1}, soon());
  (void)channel.try_get({.round = 2}, soon());
  channel.retire(0, 0, 0, 1, soon());
  channel.sweep(1, soon());
  (void)channel.contents(soon());

  const auto use = channel.use();
  EXPECT_EQ(counts(use.put), (CallUse{.calls = 1, .requests = 2, .messages = 2, .bytes = 6}));
  EXPECT_EQ(counts(use.get), (CallUse{.calls = 1, .requests = 2, .messages = 2, .bytes = 6}));
  EXPECT_EQ(counts(use.try_get), (CallUse{.calls = 2, .requests = 2, .messages = 1, .bytes = 3}));
  EXPECT_EQ(counts(use.retire), (CallUse{.calls = 1, .requests = 1}));
  EXPECT_EQ(counts(use.sweep), (CallUse{.calls = 1, .requests = 1}));
  EXPECT_EQ(counts(use.contents), (CallUse{.calls = 1, .requests = 1}));
  EXPECT_EQ(counts(use.total()), (CallUse{.calls = 7, .requests = 9, .messages = 5, .bytes = 15}));
}

TEST(MeteredChannel, CountsCallsThatFail) {
  MemoryChannel memory(/*max_message_bytes=*/2);
  MeteredChannel channel(memory);
  put_text(channel, {.round = 0}, "ab");
  EXPECT_EQ(kind_of_error([&] { put_text(channel, {.round = 1}, "abc"); }), ErrorKind::kTooLarge);
  EXPECT_EQ(kind_of_error([&] {
              channel.get(std::vector<MessageKey>{{.round = 0}, {.round = 1}}, ignore, {Deadline::in(0s)});
            }),
            ErrorKind::kDeadlineExceeded);
  const auto use = channel.use();
  EXPECT_EQ(counts(use.put), (CallUse{.calls = 2, .failed = 1, .requests = 2, .messages = 1, .bytes = 2}));
  EXPECT_EQ(counts(use.get), (CallUse{.calls = 1, .failed = 1, .requests = 2, .messages = 1, .bytes = 2}));
}

TEST(MeteredChannel, LeavesOutTheTimeOfTheReceiver) {
  MemoryChannel memory;
  MeteredChannel channel(memory);
  put_text(channel, {}, "x");
  const auto start = std::chrono::steady_clock::now();
  channel.get(
      std::vector<MessageKey>{{}}, [](const auto&, const auto&) { std::this_thread::sleep_for(20ms); }, soon());
  const auto elapsed = std::chrono::steady_clock::now() - start;
  EXPECT_GE(channel.use().get.waiting, 0ns);
  EXPECT_LE(channel.use().get.waiting, elapsed - 20ms);
}

TEST(MeteredChannel, TellsWhatWasUsedBetweenTwoMoments) {
  MemoryChannel memory;
  MeteredChannel channel(memory);
  put_text(channel, {.round = 0}, "before");
  const auto before = channel.use();
  EXPECT_EQ(channel.use() - before, ChannelUse());
  put_text(channel, {.round = 1}, "xyz");
  const auto used = channel.use() - before;
  EXPECT_EQ(counts(used.put), (CallUse{.calls = 1, .requests = 1, .messages = 1, .bytes = 3}));
  EXPECT_EQ(used.get, CallUse());
}

TEST(MeteredChannel, CountsForManyThreads) {
  MemoryChannel memory;
  MeteredChannel channel(memory);
  run_threads(4, [&](unsigned me) {
    for (std::uint64_t round = 0; round < 100; ++round) put_text(channel, {.source = me, .round = round}, "12345");
  });
  EXPECT_EQ(counts(channel.use().put), (CallUse{.calls = 400, .requests = 400, .messages = 400, .bytes = 2000}));
}

}  // namespace
}  // namespace virga
