#include "virga/exchange/ssp_exchange.h"

#include <atomic>
#include <cmath>
#include <memory>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/base/threads.h"
#include "virga/channel/memory_channel.h"
#include "virga/collective/contribution_testing.h"
#include "virga/exchange/memory_exchange.h"

namespace virga {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kSspRows = 300;
constexpr std::uint64_t kSspEpoch = 20;
constexpr Round kSspRounds = 2 * kSspEpoch;

Tables ssp_parameters(const Layout& layout) {
  Tables tables(layout);
  const Random random(31, Purpose::kTest);
  std::uint64_t item = 0;
  for (auto& values : tables.values) {
    for (auto& value : values) value = static_cast<float>(random.uniform(0, item++) - 0.5);
  }
  return tables;
}

struct SspCase {
  std::uint32_t ranks;
  std::uint32_t staleness;
  RuleKind rule;
};

class SspExchangeTest : public testing::TestWithParam<SspCase> {
 protected:
  const Layout layout = testing_layout(kSspRows, 2);
  const UpdateRuleOptions rule{.kind = GetParam().rule, .learning_rate = 0.05, .l2 = 1e-2};

  struct Outcome {
    std::vector<std::vector<CompactParameters>> read;  // [rank][round]
    std::vector<Tables> parameters;                    // [rank]
    RoundTotals totals;                                // of all rounds
  };
  /// Gradients do not depend on what is read, so settled replicas have the bits of BSP whatever the staleness.
  Outcome in_memory() const {
    const auto ranks = GetParam().ranks;
    MemoryExchange exchange(ranks, ssp_parameters(layout), rule);
    Outcome outcome;
    outcome.read.resize(ranks);
    run_threads(ranks, [&](unsigned rank) {
      for (Round round = 0; round < kSspRounds; ++round) {
        const auto contribution = testing_contribution(layout, round, rank);
        outcome.read[rank].push_back(exchange.rank(rank).read(round, contribution.tables[0].keys));
        exchange.rank(rank).write(round, contribution);
        if (rank > 0) continue;
        outcome.totals.examples += exchange.totals().examples;
        outcome.totals.loss += exchange.totals().loss;
      }
    });
    outcome.parameters.assign(ranks, exchange.parameters(kSspRounds));
    return outcome;
  }

  std::unique_ptr<SspExchange> make(Channel& channel, std::uint32_t view, unsigned rank, Position start) const {
    return std::make_unique<SspExchange>(
        channel, ReplicaExchange::Options{.group = {.view = view, .rank = rank, .size = GetParam().ranks}},
        start.round == 0 ? ssp_parameters(layout) : Tables(layout), rule,
        SspExchange::Slack{.staleness = GetParam().staleness, .rounds_per_epoch = kSspEpoch}, start);
  }

  /// Once with all ranks in new objects from the state of rank 0 after some round past `restart_after`.
  Outcome over_channel(Round restart_after = kSspRounds) const {
    const auto ranks = GetParam().ranks;
    MemoryChannel channel;
    Outcome outcome;
    outcome.read.resize(ranks, std::vector<CompactParameters>(kSspRounds));
    outcome.parameters.resize(ranks, Tables(layout));
    std::optional<std::pair<Position, ReplicaState>> kept;
    const auto run = [&](unsigned rank, std::uint32_t view, Round last) {
      auto exchange = make(channel, view, rank, kept ? kept->first : Position());
      if (kept) exchange->load(kept->second);
      for (auto round = exchange->position().round; round < last; ++round) {
        const auto contribution = testing_contribution(layout, round, rank);
        outcome.read[rank][round] = exchange->read(round, contribution.tables[0].keys);
        exchange->write(round, contribution);
        const bool ends = (round + 1) % kSspEpoch == 0;
        EXPECT_LE(round + 1, exchange->position().round + (ends ? 0 : GetParam().staleness));
        if (rank > 0 || !exchange->synchronised()) continue;
        outcome.totals.examples += exchange->totals().examples;
        outcome.totals.loss += exchange->totals().loss;
      }
      EXPECT_LE(exchange->staleness().most, GetParam().staleness);
      exchange->copy_parameters(outcome.parameters[rank]);
      return exchange;
    };
    if (restart_after < kSspRounds) {
      std::optional<std::pair<Position, ReplicaState>> state;
      run_threads(ranks, [&](unsigned rank) {
        const auto exchange = run(rank, 1, restart_after);
        if (rank == 0) state.emplace(exchange->position(), exchange->save());
      });
      kept = state;
    }
    run_threads(ranks, [&](unsigned rank) { (void)run(rank, 2, kSspRounds); });
    return outcome;
  }
};

TEST_P(SspExchangeTest, SettlesWhatBspDoesAndNoRankIsFurtherThanItMay) {
  const auto expected = in_memory();
  const auto found = over_channel();
  for (unsigned rank = 0; rank < GetParam().ranks; ++rank) {
    EXPECT_EQ(found.parameters[rank], expected.parameters[rank]);
    for (Round round = 0; round < kSspRounds; ++round) {
      if (GetParam().staleness > 0 && GetParam().ranks > 1) continue;  // it depends on what has come
      EXPECT_EQ(found.read[rank][round].tables, expected.read[rank][round].tables) << rank << " " << round;
    }
  }
  EXPECT_EQ(found.totals.examples, expected.totals.examples);
  EXPECT_NEAR(found.totals.loss, expected.totals.loss, 1e-9);
}

TEST_P(SspExchangeTest, GoesOnFromWhatRankZeroHasSettled) {
  EXPECT_EQ(over_channel(kSspEpoch / 2 + 1).parameters, in_memory().parameters);
}

INSTANTIATE_TEST_SUITE_P(All, SspExchangeTest,
                         testing::Values(SspCase{1, 3, RuleKind::kAdagrad}, SspCase{2, 0, RuleKind::kSgd},
                                         SspCase{3, 0, RuleKind::kAdam}, SspCase{3, 2, RuleKind::kMomentum},
                                         SspCase{4, 1, RuleKind::kAdam}, SspCase{5, 4, RuleKind::kAdagrad}),
                         [](const auto& test) {
                           return std::to_string(test.param.ranks) + "Stale" + std::to_string(test.param.staleness) +
                                  "Rule" + std::to_string(static_cast<int>(test.param.rule));
                         });

/// One rank with another that does nothing but put, when it is told.
class SspAheadTest : public testing::Test {
 protected:
  const Layout layout = testing_layout(40, 1);
  const UpdateRuleOptions rule{.kind = RuleKind::kSgd, .learning_rate = 0.1};
  MemoryChannel channel;

  ReplicaExchange::Options options(std::uint32_t rank, std::chrono::milliseconds patience = 20s) const {
    return {.group = {.view = 1, .rank = rank, .size = 2}, .patience = patience};
  }
  static std::vector<std::uint32_t> all_keys() {
    std::vector<std::uint32_t> keys(40);
    for (std::uint32_t key = 0; key < 40; ++key) keys[key] = key;
    return keys;
  }
  /// `values` moved by a step of the gradients of some ranks, as if they weighed `weight`.
  void step(Tables& values, std::initializer_list<unsigned> ranks, Round round, double weight) const {
    for (const auto rank : ranks) {
      const auto sum = testing_contribution(layout, round, rank);
      for (std::size_t t = 0; t < layout.size(); ++t) {
        const auto& part = sum.tables[t];
        for (std::size_t i = 0; i < part.values.size(); ++i) {
          auto& value = values.values[t][layout[t].sparse ? part.keys[i] : i];
          value -= 0.1F * part.values[i] / static_cast<float>(weight);
        }
      }
    }
  }
  static void expect_near(const CompactParameters& found, const Tables& expected) {
    for (std::size_t t = 0; t < expected.values.size(); ++t) {
      ASSERT_EQ(found.tables[t].size(), expected.values[t].size());
      for (std::size_t i = 0; i < expected.values[t].size(); ++i) {
        EXPECT_NEAR(found.tables[t][i], expected.values[t][i], 1e-5) << t << " " << i;  // sums in another order
      }
    }
  }
};

TEST_F(SspAheadTest, ReadsItsOwnRoundsAtOnceAndThoseOfOthersAsTheyCome) {
  const SspExchange::Slack slack{.staleness = 2, .rounds_per_epoch = 100};
  SspExchange mine(channel, options(0), ssp_parameters(layout), rule, slack);
  SspExchange other(channel, options(1), ssp_parameters(layout), rule, slack);
  const auto weight = [&](unsigned rank, Round round) { return testing_contribution(layout, round, rank).weight; };
  const auto keys = all_keys();

  // Round 1 of rank 0 alone: half a step, as the other one is taken to weigh as much.
  (void)mine.read(0, keys);
  mine.write(0, testing_contribution(layout, 1, 0));
  EXPECT_FALSE(mine.synchronised());
  EXPECT_EQ(mine.position().round, 0U);
  auto expected = ssp_parameters(layout);
  step(expected, {0}, 1, 2 * weight(0, 1));
  expect_near(mine.read(1, keys), expected);
  EXPECT_EQ(mine.staleness(), (StalenessCounts{.steps = 2, .sum = 1, .most = 1}));

  // The other one's comes, and must be waited for before round 3: round 0 is settled.
  mine.write(1, testing_contribution(layout, 2, 0));
  (void)other.read(0, keys);
  other.write(0, testing_contribution(layout, 1, 1));
  (void)mine.read(2, keys);
  mine.write(2, testing_contribution(layout, 4, 0));
  EXPECT_TRUE(mine.synchronised());
  EXPECT_EQ(mine.position(), (Position{.round = 1, .step = 1}));
  expected = ssp_parameters(layout);
  step(expected, {0, 1}, 1, weight(0, 1) + weight(1, 1));
  Tables settled(layout);
  mine.copy_parameters(settled);
  expect_near({settled.values}, expected);
  // And rounds 1 and 2 of rank 0 alone.
  step(expected, {0}, 2, 2 * weight(0, 2));
  step(expected, {0}, 4, 2 * weight(0, 4));
  expect_near(mine.read(3, keys), expected);
}

TEST_F(SspAheadTest, WaitsForWhoIsTooFarBehindAndNamesHim) {
  SspExchange mine(channel, options(0, 30ms), ssp_parameters(layout), rule, {.staleness = 2, .rounds_per_epoch = 100});
  for (Round round = 0; round < 2; ++round) {
    (void)mine.read(round, {});
    mine.write(round, testing_contribution(layout, round, 0));
  }
  (void)mine.read(2, {});
  try {
    mine.write(2, testing_contribution(layout, 2, 0));
    FAIL() << "it went on";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDeadlineExceeded);
    EXPECT_THAT(error.what(), testing::HasSubstr("round 0"));
  }
  EXPECT_THAT(mine.missing(), testing::ElementsAre(1));
}

TEST_F(SspAheadTest, LeavesAfterTheSameSettledRoundWhereverTheRanksAre) {
  const SspExchange::Slack slack{.staleness = 3, .rounds_per_epoch = 100};
  std::vector<Position> left(2);
  std::vector<Tables> parameters(2, Tables(layout));
  run_threads(2, [&](unsigned rank) {
    SspExchange exchange(channel, options(rank), ssp_parameters(layout), rule, slack);
    for (Round round = 0; round < 50; ++round) {
      exchange.set_decree(rank == 0 && round >= 7 ? 5 : 0);
      (void)exchange.read(round, {});
      exchange.write(round, testing_contribution(layout, round, rank));
      if (!exchange.synchronised() || exchange.decree() == 0) continue;
      EXPECT_EQ(exchange.decree(), 5U);
      break;
    }
    left[rank] = exchange.position();
    exchange.copy_parameters(parameters[rank]);
  });
  EXPECT_EQ(left[0].round, 8U);
  EXPECT_EQ(left[1], left[0]);
  EXPECT_EQ(parameters[1], parameters[0]);
}

TEST_F(SspAheadTest, LeavesFewMessagesBehind) {
  run_threads(2, [&](unsigned rank) {
    SspExchange exchange(channel, options(rank), ssp_parameters(layout), rule,
                         {.staleness = 1, .rounds_per_epoch = 1000});
    for (Round round = 0; round < 200; ++round) {
      (void)exchange.read(round, {});
      exchange.write(round, testing_contribution(layout, round, rank));
    }
  });
  EXPECT_LE(channel.contents({Deadline::in(1s)}).messages, 2U * (16 + 3 + 1));
}

}  // namespace
}  // namespace virga
