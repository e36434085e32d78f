#include "virga/channel/shaped_channel.h"

#include <chrono>
#include <cmath>
#include <map>
#include <stop_token>
#include <vector>

#include <gmock/gmock.h>

#include "virga/base/threads.h"
#include "virga/channel/channel_testing.h"
#include "virga/channel/memory_channel.h"
#include "virga/channel/metered_channel.h"
#include "virga/channel/retrying_channel.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

const auto ignore = [](const MessageKey&, const SharedBytes&) {};

TEST(ShapedChannel, ChangesNothingUnlessItIsTold) {
  MemoryChannel memory;
  ShapedChannel channel(memory, {});
  for (std::uint64_t round = 0; round < 100; ++round) put_text(channel, {.round = round}, "x");
  EXPECT_EQ(channel.contents(soon()).messages, 100U);
}

TEST(ShapedChannel, RefusesAPutBeforeItTakesPlace) {
  MemoryChannel memory;
  ShapedChannel channel(memory, {.faults = {.throttled = 1}});
  EXPECT_EQ(kind_of_error([&] { put_text(channel, {}, "x"); }), ErrorKind::kThrottled);
  EXPECT_EQ(memory.contents(soon()).messages, 0U);
}

TEST(ShapedChannel, RefusesAPutAfterItTookPlace) {
  MemoryChannel memory;
  ShapedChannel channel(memory, {.faults = {.cut_off = 1}});
  EXPECT_EQ(kind_of_error([&] { put_text(channel, {}, "x"); }), ErrorKind::kUnavailable);
  EXPECT_EQ(try_get_text(memory, {}), "x");
}

TEST(ShapedChannel, LosesAMessageUntilItIsPutAgain) {
  MemoryChannel memory;
  ShapedChannel channel(memory, {.faults = {.lost = 0.5}, .seed = 3});
  for (std::uint64_t round = 0; round < 20; ++round) {
    const MessageKey key{.round = round};
    std::uint32_t times = 0;
    while (channel.fate_of(key, times) == Fate::kLost) {
      put_text(channel, key, "x");
      EXPECT_EQ(try_get_text(memory, key), std::nullopt);
      ++times;
    }
    put_text(channel, key, "x");
    EXPECT_EQ(try_get_text(memory, key), "x");
  }
}

TEST(ShapedChannel, LosesAMessageForGood) {
  MemoryChannel memory;
  ShapedChannel channel(memory, {.faults = {.vanished = 0.5}, .seed = 3});
  int vanished = 0;
  for (std::uint64_t round = 0; round < 20; ++round) {
    const MessageKey key{.round = round};
    for (int times = 0; times < 10; ++times) put_text(channel, key, "x");
    const bool is_gone = channel.fate_of(key, 0) == Fate::kVanished;
    EXPECT_EQ(try_get_text(memory, key).has_value(), !is_gone);
    vanished += is_gone ? 1 : 0;
  }
  EXPECT_GT(vanished, 0);
  EXPECT_LT(vanished, 20);
}

TEST(ShapedChannel, StoresALateMessageLater) {
  MemoryChannel memory;
  ShapedChannel channel(memory, {.faults = {.late = 1, .late_by = 1ms}});
  put_text(channel, {}, "late");
  EXPECT_EQ(get_text(memory, {}), "late");
}

TEST(ShapedChannel, ForgetsWhatIsLateWhenItEnds) {
  MemoryChannel memory;
  {
    ShapedChannel channel(memory, {.faults = {.late = 1, .late_by = 1h}});
    put_text(channel, {}, "late");
  }
  EXPECT_EQ(memory.contents(soon()).messages, 0U);
}

TEST(ShapedChannel, PutsADoubledMessageTwice) {
  MemoryChannel memory;
  MeteredChannel metered(memory);
  ShapedChannel channel(metered, {.faults = {.doubled = 1}});
  put_text(channel, {}, "x");
  EXPECT_EQ(metered.use().put.messages, 2U);
  EXPECT_EQ(get_text(channel, {}), "x");
}

TEST(ShapedChannel, StoresTheOthersWhenOneIsRefused) {
  MemoryChannel memory;
  ShapedChannel channel(memory, {.faults = {.throttled = 0.5}, .seed = 1});
  const ByteView part = as_bytes("x");
  std::vector<Outgoing> messages;
  for (std::uint64_t round = 0; round < 20; ++round) messages.push_back({{.round = round}, {&part, 1}});
  EXPECT_EQ(kind_of_error([&] { channel.put(messages, soon()); }), ErrorKind::kThrottled);
  for (const auto& message : messages) {
    EXPECT_EQ(try_get_text(memory, message.key).has_value(), channel.fate_of(message.key, 0) == Fate::kStored);
  }
}

TEST(ShapedChannel, CutsOffAGet) {
  MemoryChannel memory;
  ShapedChannel always(memory, {.faults = {.get_cut_off = 1}});
  put_text(always, {}, "x");
  EXPECT_EQ(kind_of_error([&] { always.get(std::vector<MessageKey>{{}}, ignore, soon()); }), ErrorKind::kUnavailable);
  EXPECT_EQ(kind_of_error([&] { (void)always.try_get({}, soon()); }), ErrorKind::kUnavailable);

  ShapedChannel sometimes(memory, {.faults = {.get_cut_off = 0.3}, .seed = 5});
  RetryingChannel channel(sometimes, {.attempts = 50, .first_pause = 1us, .longest_pause = 1us});
  std::vector<MessageKey> keys;
  for (std::uint64_t round = 0; round < 50; ++round) {
    keys.push_back({.round = round});
    put_text(memory, keys.back(), "x");
  }
  std::map<MessageKey, int> seen;
  channel.get(
      keys, [&](const MessageKey& key, const SharedBytes&) { ++seen[key]; }, soon());
  EXPECT_EQ(seen.size(), 50U);
  for (const auto& [key, times] : seen) EXPECT_EQ(times, 1);
  EXPECT_GT(channel.retries(), 0U);
}

constexpr Faults kAll{
    .throttled = 0.1, .cut_off = 0.1, .lost = 0.1, .vanished = 0.2, .late = 0.1, .doubled = 0.1, .late_by = 1us};

TEST(ShapedChannel, GivesFatesTheirShares) {
  MemoryChannel memory;
  ShapedChannel channel(memory, {.faults = kAll, .seed = 11});
  constexpr int kMessages = 20'000;
  std::map<Fate, int> counts;
  for (std::uint32_t i = 0; i < kMessages; ++i) ++counts[channel.fate_of({.source = i % 7, .round = i / 7}, i % 3)];
  const auto expect_share = [&](Fate fate, double share) {
    const double deviation = std::sqrt(kMessages * share * (1 - share));
    EXPECT_NEAR(counts[fate], kMessages * share, 5 * deviation) << static_cast<int>(fate);
  };
  for (const auto fate : {Fate::kThrottled, Fate::kCutOff, Fate::kLost, Fate::kLate, Fate::kDoubled}) {
    expect_share(fate, 0.1);
  }
  expect_share(Fate::kVanished, 0.2);
  expect_share(Fate::kStored, 0.3);
}

TEST(ShapedChannel, DecidesByTheKeyTheCountAndTheSeed) {
  MemoryChannel memory;
  ShapedChannel one(memory, {.faults = kAll, .seed = 1});
  ShapedChannel same(memory, {.faults = kAll, .seed = 1});
  ShapedChannel other(memory, {.faults = kAll, .seed = 2});
  const MessageKey base{.view = 1, .group = 2, .source = 3, .round = 4, .phase = 5, .destination = 6, .part = 7};
  constexpr int kTimes = 200;
  const auto differ = [&](const ShapedChannel& a, const MessageKey& at_a, const ShapedChannel& b,
                          const MessageKey& at_b) {
    // vanished or not is decided by the key alone
    int different = 0;
    for (std::uint32_t time = 0; time < kTimes; ++time)
      different += a.fate_of(at_a, time) != b.fate_of(at_b, time) ? 1 : 0;
    return different;
  };
  EXPECT_EQ(differ(one, base, same, base), 0);
  EXPECT_GT(differ(one, base, other, base), kTimes / 4);
  std::vector<MessageKey> keys(7, base);
  keys[0].view = 9;
  keys[1].group = 9;
  keys[2].source = 9;
  keys[3].round = 9;
  keys[4].phase = 9;
  keys[5].destination = 9;
  keys[6].part = 9;
  for (const auto& key : keys) EXPECT_GT(differ(one, base, one, key), kTimes / 4) << to_string(key);
}

TEST(ShapedChannel, GivesTheSameFatesToThreadsInAnyOrder) {
  const auto stored = [] {
    MemoryChannel memory;
    ShapedChannel channel(memory, {.faults = {.throttled = 0.3, .lost = 0.3}, .seed = 4});
    run_threads(4, [&](unsigned me) {
      for (std::uint64_t round = 0; round < 200; ++round) {
        try {
          put_text(channel, {.source = me, .round = round}, "x");
        } catch (const Error& error) {
          EXPECT_EQ(error.kind(), ErrorKind::kThrottled);
        }
      }
    });
    std::vector<bool> there;
    for (std::uint32_t i = 0; i < 800; ++i)
      there.push_back(try_get_text(memory, {.source = i / 200, .round = i % 200}).has_value());
    return there;
  };
  EXPECT_EQ(stored(), stored());
}

TEST(ShapedChannel, CountsAnewAfterARetirement) {
  MemoryChannel memory;
  ShapedChannel channel(memory, {.faults = {.lost = 0.5}, .seed = 3});
  MessageKey key;
  while (channel.fate_of(key, 0) != Fate::kLost || channel.fate_of(key, 1) != Fate::kStored) ++key.round;
  for (int life = 0; life < 2; ++life) {
    put_text(channel, key, "x");
    EXPECT_EQ(try_get_text(memory, key), std::nullopt);
    put_text(channel, key, "x");
    EXPECT_EQ(try_get_text(memory, key), "x");
    channel.retire(0, 0, 0, key.round, soon());
  }
}

TEST(ShapedChannel, TakesItsTime) {
  MemoryChannel memory;
  ShapedChannel channel(memory, {.latency = 2ms, .jitter = 1ms, .bytes_per_second = 1'000'000});
  const auto start = std::chrono::steady_clock::now();
  put_text(channel, {}, std::string(3000, 'x'));  // 2 ms and 3 ms
  (void)get_text(channel, {});                    // as long
  EXPECT_GE(std::chrono::steady_clock::now() - start, 10ms);
}

TEST(ShapedChannel, SharesItsLineAmongThreads) {
  MemoryChannel memory;
  ShapedChannel channel(memory, {.bytes_per_second = 1'000'000});
  const auto start = std::chrono::steady_clock::now();
  run_threads(4, [&](unsigned me) { put_text(channel, {.source = me}, std::string(2500, 'x')); });
  EXPECT_GE(std::chrono::steady_clock::now() - start, 10ms);
}

TEST(ShapedChannel, EndsItsPausesWithTheWait) {
  MemoryChannel memory;
  ShapedChannel far(memory, {.latency = 1h});
  ShapedChannel narrow(memory, {.bytes_per_second = 1});
  put_text(memory, {}, std::string(10'000, 'x'));
  for (auto* channel : {&far, &narrow}) {
    const Wait brief{Deadline::in(1ms)};
    EXPECT_EQ(kind_of_error([&] { put_text(*channel, {.round = 1}, "a longer text", brief); }),
              ErrorKind::kDeadlineExceeded);
    EXPECT_THAT(text_of_error([&] { channel->get(std::vector<MessageKey>{{}}, ignore, brief); }),
                HasSubstr("1 message did not come"));
    EXPECT_EQ(kind_of_error([&] { (void)channel->try_get({}, brief); }), ErrorKind::kDeadlineExceeded);
    std::stop_source stop;
    stop.request_stop();
    EXPECT_EQ(kind_of_error([&] {
                channel->get(std::vector<MessageKey>{{}}, ignore, {Deadline::in(2h), stop.get_token()});
              }),
              ErrorKind::kInterrupted);
  }
  EXPECT_EQ(memory.contents(soon()).messages, 1U);
}

}  // namespace
}  // namespace virga
