#include "virga/exchange/bsp_exchange.h"

#include <chrono>
#include <limits>
#include <mutex>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/base/threads.h"
#include "virga/channel/memory_channel.h"
#include "virga/collective/contribution_testing.h"
#include "virga/collective/pattern_testing.h"
#include "virga/exchange/memory_exchange.h"

namespace virga {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kRows = 400;
constexpr Round kRounds = 12;

Tables start_parameters(const Layout& layout) {
  Tables tables(layout);
  const Random random(3, Purpose::kTest);
  std::uint64_t item = 0;
  for (auto& values : tables.values) {
    for (auto& value : values) value = static_cast<float>(random.uniform(0, item++) - 0.5);
  }
  return tables;
}

std::vector<std::uint32_t> some_keys(Round round, unsigned rank) {
  std::vector<std::uint32_t> keys;
  for (std::uint32_t key = static_cast<std::uint32_t>(round % 3); key < kRows; key += 3 + rank) keys.push_back(key);
  return keys;
}

struct Outcome {
  std::vector<std::vector<CompactParameters>> read;  // [rank][round]
  std::vector<Tables> parameters;                    // [rank], after the last round
  RoundTotals totals;
};

bool same(const CompactParameters& a, const CompactParameters& b) { return a.tables == b.tables; }

struct Case {
  std::uint32_t ranks;
  Pattern pattern;
  RuleKind rule;
};

class BspExchangeTest : public testing::TestWithParam<Case> {
 protected:
  const Layout layout = testing_layout(kRows, 2);
  UpdateRuleOptions rule() const { return {.kind = GetParam().rule, .learning_rate = 0.1, .l2 = 1e-3}; }

  Outcome in_memory() const {
    const auto ranks = GetParam().ranks;
    MemoryExchange exchange(ranks, start_parameters(layout), rule());
    Outcome outcome;
    outcome.read.resize(ranks);
    run_threads(ranks, [&](unsigned rank) {
      for (Round round = 0; round < kRounds; ++round) {
        outcome.read[rank].push_back(exchange.rank(rank).read(round, some_keys(round, rank)));
        exchange.rank(rank).write(round, testing_contribution(layout, round, rank));
      }
    });
    outcome.parameters.assign(ranks, exchange.parameters(kRounds));
    outcome.totals = exchange.totals();
    return outcome;
  }

  /// Rounds [0, kRounds), from the parameters and state of a replica anew after `restart_after` rounds.
  Outcome over_channel(Round restart_after) const {
    const auto ranks = GetParam().ranks;
    MemoryChannel channel;
    Outcome outcome;
    outcome.read.resize(ranks);
    outcome.parameters.resize(ranks);
    run_threads(ranks, [&](unsigned rank) {
      const auto make = [&](std::uint32_t view, const Tables& parameters, Position start) {
        return std::make_unique<BspExchange>(channel,
                                             BspExchange::Options{.group = {.view = view, .rank = rank, .size = ranks},
                                                                  .all_reduce = {.pattern = GetParam().pattern}},
                                             parameters, rule(), cut_tables(layout, ranks), start);
      };
      auto exchange = make(1, start_parameters(layout), {});
      for (Round round = 0; round < kRounds; ++round) {
        if (round == restart_after) {
          const auto position = exchange->position();
          const auto state = exchange->save();
          exchange = make(2, Tables(layout), position);
          exchange->load(state);
        }
        outcome.read[rank].push_back(exchange->read(round, some_keys(round, rank)));
        exchange->set_decree(round * 10 + rank);
        exchange->write(round, testing_contribution(layout, round, rank));
        EXPECT_EQ(exchange->decree(), round * 10 + ranks - 1);
      }
      outcome.parameters[rank] = Tables(layout);
      exchange->copy_parameters(outcome.parameters[rank]);
      if (rank == 0) outcome.totals = exchange->totals();
    });
    return outcome;
  }

  void expect_same(const Outcome& actual, const Outcome& expected) const {
    for (std::size_t rank = 0; rank < expected.read.size(); ++rank) {
      for (Round round = 0; round < kRounds; ++round) {
        EXPECT_TRUE(same(actual.read[rank][round], expected.read[rank][round]))
            << "rank " << rank << " round " << round;
      }
      EXPECT_EQ(actual.parameters[rank], expected.parameters[rank]);
    }
    EXPECT_EQ(actual.totals, expected.totals);
  }
};

TEST_P(BspExchangeTest, GivesTheBitsOfTheExchangeInMemory) { expect_same(over_channel(kRounds), in_memory()); }

TEST_P(BspExchangeTest, GoesOnFromAReplicasState) { expect_same(over_channel(7), in_memory()); }

INSTANTIATE_TEST_SUITE_P(
    All, BspExchangeTest,
    testing::Values(Case{1, Pattern::kScatterReduce, RuleKind::kAdagrad},
                    Case{2, Pattern::kScatterReduce, RuleKind::kSgd}, Case{3, Pattern::kLeader, RuleKind::kAdam},
                    Case{3, Pattern::kScatterReduce, RuleKind::kAdam}, Case{4, Pattern::kLeader, RuleKind::kMomentum},
                    Case{5, Pattern::kScatterReduce, RuleKind::kAdagrad},
                    Case{2, Pattern::kAllToAll, RuleKind::kAdagrad}, Case{5, Pattern::kAllToAll, RuleKind::kAdam}),
    [](const auto& test) {
      return std::to_string(test.param.ranks) + name_of(test.param.pattern) +
             std::to_string(static_cast<int>(test.param.rule));
    });

TEST(BspExchange, RefusesAContributionThatIsNotFiniteByRoundAndRank) {
  const auto layout = testing_layout(kRows, 1);
  MemoryChannel channel;
  BspExchange exchange(channel, {.group = {.view = 1, .rank = 0, .size = 1}}, start_parameters(layout), {},
                       cut_tables(layout, 1));
  auto contribution = testing_contribution(layout, 0, 0);
  contribution.tables[1].values[8] = std::numeric_limits<float>::quiet_NaN();
  (void)exchange.read(0, {});
  try {
    exchange.write(0, contribution);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDiverged);
    EXPECT_STREQ(error.what(), "round 0, rank 0: the gradient of 'hidden' is not finite in row 1");
  }
}

TEST(BspExchange, EndsAWaitForOtherRanks) {
  const auto layout = testing_layout(kRows, 1);
  MemoryChannel channel;
  BspExchange exchange(channel, {.group = {.view = 1, .rank = 0, .size = 2}, .patience = 20ms},
                       start_parameters(layout), {}, cut_tables(layout, 2));
  (void)exchange.read(0, {});
  EXPECT_THROW(exchange.write(0, testing_contribution(layout, 0, 0)), Error);
}

}  // namespace
}  // namespace virga
