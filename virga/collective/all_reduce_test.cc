#include "virga/collective/all_reduce.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/base/threads.h"
#include "virga/channel/memory_channel.h"
#include "virga/channel/shaped_channel.h"
#include "virga/collective/collectives.h"
#include "virga/collective/contribution_testing.h"
#include "virga/collective/pattern_testing.h"
#include "virga/collective/tree_sum.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

Wait soon() { return {Deadline::in(30s)}; }

/// A sum, joined: [table] key (or element) -> row.
struct Sum {
  SumScalars scalars;
  std::vector<std::map<std::uint64_t, std::vector<float>>> tables;
  bool operator==(const Sum&) const = default;
};

Sum join(const std::vector<ContributionPart>& parts, const Layout& layout) {
  Sum sum;
  sum.scalars = parts[0].scalars;
  sum.tables.resize(layout.size());
  for (const auto& part : parts) {
    for (std::size_t t = 0; t < layout.size(); ++t) {
      const auto& [first, rows] = part.tables[t];
      const std::size_t width = layout[t].sparse ? layout[t].width : 1;
      for (std::size_t i = 0; i * width < rows.values.size(); ++i) {
        const auto at = rows.values.begin() + static_cast<std::ptrdiff_t>(i * width);
        const auto [place, is_new] =
            sum.tables[t].try_emplace(layout[t].sparse ? rows.keys[i] : first + i,
                                      std::vector<float>(at, at + static_cast<std::ptrdiff_t>(width)));
        EXPECT_TRUE(is_new) << "no row is in two parts";
        (void)place;
      }
    }
  }
  return sum;
}

/// From the definition: row by row over the tree of ranks, who has nothing adding nothing.
Sum slow_sum(const Layout& layout, std::uint64_t round, std::uint32_t size) {
  std::vector<Contribution> all;
  for (std::uint32_t rank = 0; rank < size; ++rank) all.push_back(testing_contribution(layout, round, rank));
  Sum sum;
  std::vector<RoundTotals> totals;
  for (const auto& c : all) totals.push_back({c.weight, c.loss, c.examples});
  tree_sum(std::span(totals), [](RoundTotals& a, const RoundTotals& b) {
    a = {a.weight + b.weight, a.loss + b.loss, a.examples + b.examples};
  });
  sum.scalars = {totals[0], 100 + size - 1};
  for (std::size_t t = 0; t < layout.size(); ++t) {
    const std::size_t width = layout[t].sparse ? layout[t].width : 1;
    std::map<std::uint64_t, std::vector<std::optional<std::vector<float>>>> rows;
    for (std::uint32_t rank = 0; rank < size; ++rank) {
      const auto& table = all[rank].tables[t];
      for (std::size_t i = 0; i * width < table.values.size(); ++i) {
        auto& row = rows[layout[t].sparse ? table.keys[i] : i];
        row.resize(size);
        const auto at = table.values.begin() + static_cast<std::ptrdiff_t>(i * width);
        row[rank] = std::vector<float>(at, at + static_cast<std::ptrdiff_t>(width));
      }
    }
    auto& table = sum.tables.emplace_back();
    for (auto& [key, parts] : rows) {
      tree_sum(std::span(parts), [](auto& a, const auto& b) {
        if (!b) return;
        if (!a) {
          a = b;
          return;
        }
        for (std::size_t c = 0; c < b->size(); ++c) (*a)[c] += (*b)[c];
      });
      table[key] = *parts[0];
    }
  }
  return sum;
}

struct Case {
  Pattern pattern;
  std::uint32_t size;
  std::uint32_t width;
  std::uint32_t pieces = 1;

  [[nodiscard]] AllReduce::Options options(Phase phase = 0) const {
    return {.pattern = pattern, .phase = phase, .pieces = pieces};
  }
  [[nodiscard]] TableCuts cuts(const Layout& layout) const {
    return cut_tables(layout, AllReduce::ranges(size, options()));
  }
};

class AllReduceTest : public testing::TestWithParam<Case> {};

TEST_P(AllReduceTest, GivesEveryMemberTheTreeSumOfEveryRound) {
  const auto layout = testing_layout(600, GetParam().width);
  const auto size = GetParam().size;
  constexpr std::uint64_t kRounds = 7;
  MemoryChannel channel;
  std::vector<std::vector<Sum>> sums(size);
  run_threads(size, [&](unsigned rank) {
    AllReduce all_reduce(channel, {.view = 3, .id = 1, .rank = rank, .size = size}, layout, GetParam().cuts(layout),
                         GetParam().options(4));
    for (std::uint64_t round = 0; round < kRounds; ++round) {
      const auto contribution = testing_contribution(layout, round, rank);
      sums[rank].push_back(join(all_reduce(round, contribution, 100 + rank, soon()), layout));
    }
  });
  for (std::uint64_t round = 0; round < kRounds; ++round) {
    const auto expected = slow_sum(layout, round, size);
    for (std::uint32_t rank = 0; rank < size; ++rank) EXPECT_EQ(sums[rank][round], expected) << rank << " " << round;
  }
}

TEST_P(AllReduceTest, MakesAsManyTransfersAsTheTheorySays) {
  const auto layout = testing_layout(600, GetParam().width);
  const std::uint64_t w = GetParam().size;
  MemoryChannel channel;
  std::vector<Traffic> traffic(w);
  run_threads(static_cast<unsigned>(w), [&](unsigned rank) {
    AllReduce all_reduce(channel, {.view = 1, .rank = rank, .size = GetParam().size}, layout, GetParam().cuts(layout),
                         GetParam().options());
    (void)all_reduce(1, testing_contribution(layout, 1, rank), 0, soon());
    traffic[rank] = all_reduce.traffic();
  });
  std::uint64_t transfers = 0;
  for (const auto& t : traffic) transfers += t.messages_put + t.messages_got;
  if (w == 1) {
    EXPECT_EQ(transfers, 0U);
  } else if (GetParam().pattern == Pattern::kAllToAll) {
    for (const auto& t : traffic) {
      EXPECT_EQ(t.messages_put, 1U);
      EXPECT_EQ(t.messages_got, w - 1);
    }
  } else if (GetParam().pattern == Pattern::kLeader || GetParam().pattern == Pattern::kTree) {
    EXPECT_EQ(transfers, (w - 1) + (w - 1) + 1 + (w - 1));  // to member 0; from it: one put, w - 1 gets
    for (const auto& t : traffic) EXPECT_EQ(t.messages_put, 1U);
    const auto most = GetParam().pattern == Pattern::kLeader ? w - 1 : std::uint64_t{std::bit_width(w - 1)};
    EXPECT_EQ(traffic[0].messages_got, most);
  } else {
    for (const auto& t : traffic) {
      EXPECT_EQ(t.messages_put, GetParam().pieces * w);
      EXPECT_EQ(t.messages_put + t.messages_got, GetParam().pieces * (3 * w - 2));
    }
  }
}

TEST_P(AllReduceTest, RetiresWhatAllHaveGot) {
  const auto layout = testing_layout(600, GetParam().width);
  const auto size = GetParam().size;
  MemoryChannel channel;
  run_threads(size, [&](unsigned rank) {
    AllReduce all_reduce(channel, {.view = 1, .rank = rank, .size = size}, layout, GetParam().cuts(layout),
                         GetParam().options());
    // Rounds need not follow each other.
    for (std::uint64_t round = 0; round < 200; ++round) {
      (void)all_reduce(3 * round, testing_contribution(layout, round % 5, rank), 0, soon());
    }
  });
  EXPECT_LE(channel.contents(soon()).messages, 20U * size * size * GetParam().pieces);
}

INSTANTIATE_TEST_SUITE_P(
    Patterns, AllReduceTest,
    testing::Values(Case{Pattern::kLeader, 1, 1}, Case{Pattern::kLeader, 2, 1}, Case{Pattern::kLeader, 3, 3},
                    Case{Pattern::kLeader, 8, 1}, Case{Pattern::kScatterReduce, 1, 1},
                    Case{Pattern::kScatterReduce, 2, 1}, Case{Pattern::kScatterReduce, 3, 3},
                    Case{Pattern::kScatterReduce, 8, 1}, Case{Pattern::kAllToAll, 1, 1}, Case{Pattern::kAllToAll, 2, 1},
                    Case{Pattern::kAllToAll, 3, 3}, Case{Pattern::kAllToAll, 8, 1}, Case{Pattern::kTree, 1, 1},
                    Case{Pattern::kTree, 2, 1}, Case{Pattern::kTree, 3, 3}, Case{Pattern::kTree, 5, 1},
                    Case{Pattern::kTree, 8, 1}, Case{Pattern::kTree, 11, 2}, Case{Pattern::kPipelined, 1, 1, 4},
                    Case{Pattern::kPipelined, 2, 1, 4}, Case{Pattern::kPipelined, 3, 3, 1},
                    Case{Pattern::kPipelined, 3, 3, 5}, Case{Pattern::kPipelined, 8, 1, 3}),
    [](const auto& test) {
      const auto pieces = test.param.pieces == 1 ? "" : "by" + std::to_string(test.param.pieces);
      return name_of(test.param.pattern) + std::to_string(test.param.size) + pieces;
    });

TEST(AllReduce, MovesEachByteOfPiecesOnce) {
  constexpr std::uint32_t kSize = 4, kPieces = 3, kElements = 16 * kSize * kPieces * 5;
  constexpr std::uint64_t kBytes = kElements * sizeof(float), kHeads = 96;  // before the values of a message
  const Layout layout = {{.name = "w", .rows = kElements, .width = 1, .regularised = true, .sparse = false}};
  const AllReduce::Options options{.pattern = Pattern::kPipelined, .pieces = kPieces};
  MemoryChannel channel;
  run_threads(kSize, [&](unsigned rank) {
    AllReduce all_reduce(channel, {.view = 1, .rank = rank, .size = kSize}, layout,
                         cut_tables(layout, AllReduce::ranges(kSize, options)), options);
    Contribution contribution;
    contribution.weight = 1;
    contribution.tables.push_back({.whole = true, .keys = {}, .values = std::vector<float>(kElements, 1.5F)});
    (void)all_reduce(1, contribution, 0, soon());
    EXPECT_EQ(all_reduce.traffic().bytes_put, std::uint64_t{kPieces} * kSize * kHeads + kBytes);
    EXPECT_EQ(all_reduce.traffic().bytes_got,
              std::uint64_t{kPieces} * 2 * (kSize - 1) * kHeads + std::uint64_t{2} * (kSize - 1) * kBytes / kSize);
  });
}

TEST(AllReduce, EndsAPipelineWhoseMessagesAreRefused) {
  const auto layout = testing_layout(600, 1);
  const AllReduce::Options options{.pattern = Pattern::kPipelined, .pieces = 4};
  MemoryChannel memory;
  ShapedChannel refusing(memory, {.faults = {.throttled = 0.5}, .seed = 1});
  AllReduce all_reduce(refusing, {.view = 1, .rank = 0, .size = 3}, layout,
                       cut_tables(layout, AllReduce::ranges(3, options)), options);
  try {
    (void)all_reduce(0, testing_contribution(layout, 0, 0), 0, soon());
    FAIL() << "a put was refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kThrottled) << "and not that the waits were ended for it";
  }
}

TEST(AllReduce, EndsAPipelineWhenItIsStopped) {
  const auto layout = testing_layout(600, 1);
  const AllReduce::Options options{.pattern = Pattern::kPipelined, .pieces = 4};
  MemoryChannel channel;
  AllReduce all_reduce(channel, {.view = 1, .rank = 0, .size = 3}, layout,
                       cut_tables(layout, AllReduce::ranges(3, options)), options);
  std::stop_source stop;
  const std::jthread stopper([&] { stop.request_stop(); });
  try {
    (void)all_reduce(0, testing_contribution(layout, 0, 0), 0, {Deadline::in(30s), stop.get_token()});
    FAIL() << "nobody else came";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInterrupted);
  }
}

TEST(AllReduce, NamesWhoIsMissing) {
  const auto layout = testing_layout(100, 1);
  MemoryChannel channel;
  AllReduce all_reduce(channel, {.view = 1, .rank = 0, .size = 3}, layout, cut_tables(layout, 3), {});
  try {
    (void)all_reduce(0, testing_contribution(layout, 0, 0), 0, {Deadline::in(20ms)});
    FAIL() << "nobody else came";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDeadlineExceeded);
    EXPECT_THAT(error.what(), HasSubstr("from 1 to 0"));
    EXPECT_THAT(error.what(), HasSubstr("from 2 to 0"));
  }
}

TEST(AllReduce, NamesWhoIsMissingInAPipeline) {
  const auto layout = testing_layout(100, 1);
  const AllReduce::Options options{.pattern = Pattern::kPipelined, .pieces = 2};
  MemoryChannel channel;
  std::vector<std::vector<std::uint32_t>> missing(2);
  run_threads(2, [&](unsigned rank) {
    AllReduce all_reduce(channel, {.view = 1, .rank = rank, .size = 3}, layout,
                         cut_tables(layout, AllReduce::ranges(3, options)), options);
    EXPECT_THROW((void)all_reduce(0, testing_contribution(layout, 0, rank), 0, {Deadline::in(20ms)}), Error);
    missing[rank] = all_reduce.missing();
  });
  // No sum can be made without the third, so none has all of anybody's.
  EXPECT_THAT(missing, testing::ElementsAre(testing::ElementsAre(1, 2), testing::ElementsAre(0, 2)));
}

TEST(AllReduce, RefusesAContributionOfAnotherJob) {
  const auto layout = testing_layout(100, 1);
  const auto other = testing_layout(101, 2);
  MemoryChannel channel;
  std::atomic<int> refused = 0;
  run_threads(2, [&](unsigned rank) {
    const auto& mine = rank == 0 ? layout : other;
    AllReduce all_reduce(channel, {.view = 1, .rank = rank, .size = 2}, mine, cut_tables(mine, 2), {});
    try {
      (void)all_reduce(1, testing_contribution(mine, 1, rank), 0, {Deadline::in(2s)});
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kCorrupt) ++refused;
    }
  });
  EXPECT_GE(refused, 1);
}

TEST(Collectives, GatherBroadcastAndBarrierServeAllSizesAndRoots) {
  for (const std::uint32_t size : {1U, 2U, 5U}) {
    for (std::uint32_t root = 0; root < size; ++root) {
      MemoryChannel channel;
      std::atomic<std::uint32_t> arrived = 0;
      run_threads(size, [&](unsigned rank) {
        const Group group{.view = 1, .rank = rank, .size = size};
        const auto text = "from " + std::to_string(rank);
        const auto all = gather(channel, group, 0, 0, root, as_bytes(text), soon());
        ASSERT_EQ(all.size(), rank == root ? size : 0);
        for (std::size_t r = 0; r < all.size(); ++r) EXPECT_EQ(as_text(all[r].view()), "from " + std::to_string(r));
        const auto told = broadcast(channel, group, 0, 1, root, as_bytes(text), soon());
        EXPECT_EQ(as_text(told.view()), "from " + std::to_string(root));
        ++arrived;
        barrier(channel, group, 0, 2, soon());
        EXPECT_EQ(arrived, size);
      });
    }
  }
}

}  // namespace
}  // namespace virga
