#include "virga/collective/pattern_choice.h"

#include <chrono>
#include <cmath>
#include <mutex>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/base/threads.h"
#include "virga/channel/emulated_channel.h"
#include "virga/channel/memory_channel.h"
#include "virga/channel/shaped_channel.h"
#include "virga/collective/channel_probe.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

/// Of S3, as LambdaML measured it.
constexpr ChannelFigures kSlow{.journey_seconds = 0.16,
                               .message_seconds = 0,
                               .put_seconds = 0.08,
                               .put_seconds_per_byte = 1 / 65e6,
                               .get_seconds_per_byte = 1 / 65e6,
                               .store_seconds_per_byte = 0,
                               .sum_seconds_per_byte = 0};

double seconds_of(Pattern pattern, const ChannelFigures& figures, const RoundSize& size, std::uint32_t pieces = 1) {
  return forecast(pattern, pieces, figures, size).seconds;
}

TEST(Forecast, IsLambdaMlsModelWhereBytesAreAllThatCounts) {
  ChannelFigures figures = kSlow;
  figures.journey_seconds = figures.put_seconds = 0;
  for (const std::uint32_t w : {2U, 5U, 16U}) {
    const double m = 12e6, per_byte = 1 / 65e6;
    const RoundSize size{w, m, m};
    EXPECT_DOUBLE_EQ(seconds_of(Pattern::kScatterReduce, figures, size), (3 * w - 2) * m / w * per_byte);
    EXPECT_DOUBLE_EQ(seconds_of(Pattern::kLeader, figures, size), (w + 2) * m * per_byte) << "put, w - 1 got, put, got";
    EXPECT_DOUBLE_EQ(seconds_of(Pattern::kAllToAll, figures, size), w * m * per_byte);
    const auto down = 2 * (w - 1) * m / w * per_byte, up = m * per_byte;
    EXPECT_NEAR(seconds_of(Pattern::kPipelined, figures, size, 1'000'000), std::max(down, up), 1e-6);
  }
}

TEST(Forecast, CountsJourneysWhereLatencyIsAllThatCounts) {
  const RoundSize size{8, 1, 1};
  EXPECT_NEAR(seconds_of(Pattern::kAllToAll, kSlow, size), 0.16, 1e-6);
  EXPECT_NEAR(seconds_of(Pattern::kLeader, kSlow, size), 2 * 0.16, 1e-6);
  EXPECT_NEAR(seconds_of(Pattern::kScatterReduce, kSlow, size), 2 * 0.16, 1e-6);
  EXPECT_NEAR(seconds_of(Pattern::kTree, kSlow, size), 4 * 0.16, 1e-6);
  EXPECT_NEAR(seconds_of(Pattern::kPipelined, kSlow, size, 2), 2 * 0.16, 1e-6);
  EXPECT_NEAR(seconds_of(Pattern::kPipelined, kSlow, size, 8), 2 * 0.16 + 6 * 0.08, 1e-6) << "puts wait for each other";
}

TEST(Forecast, LetsAStoreBeTheBottleneckOfAll) {
  ChannelFigures figures = kSlow;
  figures.journey_seconds = figures.put_seconds = 0;
  figures.store_seconds_per_byte = 1e-6;
  const RoundSize size{4, 1e6, 1e6};
  for (const auto pattern : kPatterns) {
    const auto forecasted = forecast(pattern, 2, figures, size);
    EXPECT_NEAR(forecasted.seconds,
                1e-6 * static_cast<double>(forecasted.traffic.bytes_put + forecasted.traffic.bytes_got), 1e-9)
        << to_string(pattern);
  }
}

TEST(Forecast, CountsTheTransfersThatAllReduceMakes) {
  constexpr std::uint64_t kHeads = 96;  // of a message, before its values
  for (const std::uint32_t size : {2U, 5U, 8U}) {
    const std::uint32_t elements = 16 * size * 4;
    const Layout layout = {{.name = "w", .rows = elements, .width = 1, .regularised = true, .sparse = false}};
    for (const auto pattern : kPatterns) {
      const AllReduce::Options options{.pattern = pattern, .pieces = 2};
      MemoryChannel channel;
      std::mutex mutex;
      Traffic all;
      run_threads(size, [&](unsigned rank) {
        AllReduce all_reduce(channel, {.view = 1, .rank = rank, .size = size}, layout,
                             cut_tables(layout, AllReduce::ranges(size, options)), options);
        Contribution contribution;
        contribution.tables.push_back({.whole = true, .keys = {}, .values = std::vector<float>(elements, 1)});
        (void)all_reduce(0, contribution, 0, {Deadline::in(30s)});
        const std::lock_guard lock(mutex);
        all += all_reduce.traffic();
      });
      all.bytes_put -= kHeads * all.messages_put;
      all.bytes_got -= kHeads * all.messages_got;
      const double bytes = elements * sizeof(float);
      EXPECT_EQ(forecast(pattern, 2, kSlow, {size, bytes, bytes}).traffic, all) << to_string(pattern) << size;
    }
  }
}

TEST(ChoosePattern, TakesFewJourneysForLittleAndAllLinesForMuch) {
  EXPECT_EQ(choose_pattern(kPatterns, kSlow, {4, 1000, 2000}).pattern, Pattern::kAllToAll);
  const auto much = choose_pattern(kPatterns, kSlow, {4, 50e6, 50e6});
  EXPECT_EQ(much.pattern, Pattern::kPipelined);
  EXPECT_EQ(much.pieces, 8U);
  EXPECT_EQ(much.forecasts.size(), std::size(kPatterns));
  EXPECT_TRUE(std::ranges::is_sorted(much.forecasts, {}, &PatternForecast::seconds));
  EXPECT_THAT(choice_text(much), HasSubstr("pipelined (8 pieces): "));
  EXPECT_THAT(choice_text(much), HasSubstr("; scatter-reduce "));
  EXPECT_THAT(choice_text(much), HasSubstr("65 MB/s up"));

  constexpr Pattern kSome[] = {Pattern::kLeader, Pattern::kTree};
  EXPECT_EQ(choose_pattern(kSome, kSlow, {8, 50e6, 50e6}).pattern, Pattern::kTree) << "none that is no candidate";
}

TEST(ChoosePattern, KeepsTheDefaultUnlessAnotherIsClearlyFaster) {
  ChannelFigures figures = kSlow;
  const auto pattern_with = [&](double message_seconds) {
    figures.message_seconds = message_seconds;
    return choose_pattern(kPatterns, figures, {3, 1, 1}).pattern;
  };
  // All-to-all has one journey, and pays for adding: it is the faster one by a twentieth, and by a fifth.
  figures.sum_seconds_per_byte = 1;
  figures.journey_seconds = 2.22;
  const auto all_to_all = seconds_of(Pattern::kAllToAll, figures, {3, 1, 1});
  const auto usual = seconds_of(Pattern::kScatterReduce, figures, {3, 1, 1});
  ASSERT_LT(all_to_all, usual);
  ASSERT_GT(all_to_all, 0.9 * usual);
  EXPECT_EQ(pattern_with(0), Pattern::kScatterReduce);
  figures.journey_seconds = 4;
  ASSERT_LT(seconds_of(Pattern::kAllToAll, figures, {3, 1, 1}),
            0.9 * seconds_of(Pattern::kScatterReduce, figures, {3, 1, 1}));
  EXPECT_EQ(pattern_with(0), Pattern::kAllToAll);
}

TEST(ProbeChannel, MeasuresAndLeavesNothing) {
  MemoryChannel memory;
  constexpr ServiceProfile kService{"some", "", 5ms, 1e9, false};
  EmulatedChannel first(memory, kService), second(memory, kService);
  Channel* const members[] = {&first, &second};
  const auto [figures, traffic] = probe_channel(members, {Deadline::in(30s)});
  EXPECT_GE(figures.journey_seconds, 0.010) << "a latency to put, and one to get";
  EXPECT_GT(figures.sum_seconds_per_byte, 0);
  for (const auto number : {figures.message_seconds, figures.put_seconds_per_byte, figures.get_seconds_per_byte,
                            figures.store_seconds_per_byte}) {
    EXPECT_TRUE(std::isfinite(number) && number >= 0) << number;
  }
  EXPECT_EQ(traffic.messages_put, traffic.messages_got);
  EXPECT_EQ(traffic.bytes_put, traffic.bytes_got);
  EXPECT_GT(traffic.bytes_put, 0U);
  EXPECT_EQ(memory.contents({Deadline::in(1s)}), ChannelContents());
}

TEST(ProbeChannel, SaysWhatWentWrongAtOnce) {
  MemoryChannel memory;
  ShapedChannel refusing(memory, {.faults = {.throttled = 1}});
  ShapedChannel losing(memory, {.faults = {.vanished = 1}});
  const auto kind_with = [](Channel& channel, const Wait& wait) {
    Channel* const members[] = {&channel, &channel};
    try {
      (void)probe_channel(members, wait);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::kInternal;
  };
  EXPECT_EQ(kind_with(refusing, {Deadline::in(24h)}), ErrorKind::kThrottled);
  EXPECT_EQ(kind_with(losing, {Deadline::in(10ms)}), ErrorKind::kDeadlineExceeded);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(kind_with(losing, {Deadline::in(24h), stop.get_token()}), ErrorKind::kInterrupted);
  EXPECT_EQ(memory.contents({Deadline::in(1s)}), ChannelContents());
}

}  // namespace
}  // namespace virga
