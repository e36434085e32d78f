#include "virga/exchange/relay_exchange.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "virga/base/error.h"
#include "virga/base/threads.h"
#include "virga/exchange/contribution_series_testing.h"
#include "virga/exchange/memory_exchange.h"

namespace virga {
namespace {

constexpr Round kRounds = 48;

/// Also of the signs of zeros.
bool same_bits(const std::vector<std::vector<float>>& a, const std::vector<std::vector<float>>& b) {
  return std::ranges::equal(a, b, [](const auto& x, const auto& y) {
    return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
  });
}

struct Case {
  unsigned runners;
  std::uint32_t width;
  RuleKind kind;
  unsigned series;  // of contributions; in series 1 every third round has no weight, in both round 5
};
class RelayExchangeTest : public testing::TestWithParam<Case> {
 protected:
  /// Rounds [from, to) by all runners; what each round read, and the loss of each as it was completed.
  void run_rounds(RelayExchange& relay, Round from, Round to) {
    run_threads(runners, [&](unsigned runner) {
      for (Round round = first_of(runner, from); round < to; round += runners) {
        const auto contribution = contribution_of(layout, round, GetParam().series);
        seen[round] = relay.rank(runner).read(round, keys_of(round, contribution));
        relay.rank(runner).write(round, contribution);
      }
    });
  }
  /// Rows without weight have features, too.
  [[nodiscard]] std::vector<std::uint32_t> keys_of(Round round, const Contribution& contribution) const {
    if (contribution.weight > 0) return contribution.tables[0].keys;
    return contribution_of(layout, 100 + round, 0).tables[0].keys;
  }
  [[nodiscard]] Round first_of(unsigned runner, Round from) const {
    return from + (runner + runners - from % runners) % runners;
  }
  /// The same by one rank that does everything itself.
  void run_rounds(MemoryExchange& alone, Round from, Round to) {
    for (Round round = from; round < to; ++round) {
      const auto contribution = contribution_of(layout, round, GetParam().series);
      expected[round] = alone.rank(0).read(round, keys_of(round, contribution));
      alone.rank(0).write(round, contribution);
      expected_totals.push_back(alone.totals());
    }
  }
  [[nodiscard]] std::unique_ptr<RelayExchange> relay() {
    return std::make_unique<RelayExchange>(start, options, RelayExchange::Options{.runners = runners, .threads = 2});
  }

  const unsigned runners = GetParam().runners;
  const Tables start = initial_parameters(GetParam().width);
  const Layout& layout = start.layout;
  const UpdateRuleOptions options{.kind = GetParam().kind,
                                  .learning_rate = 0.1,
                                  .l1 = GetParam().kind == RuleKind::kMomentum ? 0 : 1e-3,
                                  .l2 = 1e-2};
  std::vector<CompactParameters> seen{kRounds};
  std::vector<CompactParameters> expected{kRounds};
  std::vector<RoundTotals> expected_totals;
};

TEST_P(RelayExchangeTest, HasTheBitsOfOneRankAlone) {
  std::vector<RoundTotals> totals;
  std::vector<Round> completed;
  std::unique_ptr<RelayExchange> relay;
  relay = std::make_unique<RelayExchange>(start, options,
                                          RelayExchange::Options{.runners = runners, .completed = [&](Round round) {
                                                                   completed.push_back(round);
                                                                   totals.push_back(relay->totals());
                                                                 }});
  MemoryExchange alone(1, start, options);
  run_rounds(*relay, 0, kRounds);
  run_rounds(alone, 0, kRounds);
  for (Round round = 0; round < kRounds; ++round) {
    ASSERT_TRUE(same_bits(seen[round].tables, expected[round].tables)) << "round " << round;
    ASSERT_EQ(completed[round], round);
  }
  EXPECT_EQ(totals, expected_totals);
  EXPECT_TRUE(same_bits(relay->parameters(kRounds).values, alone.parameters(kRounds).values));
}

TEST_P(RelayExchangeTest, DoesNotChangeWhenItsParametersAreLookedAt) {
  const auto quiet = relay(), watched = relay();
  run_rounds(*quiet, 0, kRounds);
  for (Round round = 0; round < kRounds;) {
    static_cast<void>(watched->parameters(round));
    static_cast<void>(watched->parameters(round));
    const auto next = std::min(kRounds, round + 1 + round % 7);  // also epochs in which some runners have no round
    run_rounds(*watched, round, next);
    round = next;
  }
  EXPECT_EQ(quiet->parameters(kRounds), watched->parameters(kRounds));
}

TEST_P(RelayExchangeTest, ChangesRateAndAccumulatorsBetweenEpochs) {
  const auto relay = this->relay();
  MemoryExchange alone(1, start, options);
  for (Round round = 0; round < kRounds; round += 6) {
    run_rounds(*relay, round, round + 6);
    run_rounds(alone, round, round + 6);
    const double rate = 0.1 / static_cast<double>(round + 2);
    for (SharedExchange* exchange : {static_cast<SharedExchange*>(relay.get()), static_cast<SharedExchange*>(&alone)}) {
      if (round % 12 == 0) exchange->scale_accumulators(0.125);
      exchange->set_learning_rate(rate);
      if (round % 12 != 0) exchange->scale_accumulators(0.125);
    }
    ASSERT_TRUE(same_bits(relay->parameters(round + 6).values, alone.parameters(round + 6).values))
        << "after round " << round + 5;
  }
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const unsigned runners : {2U, 3U, 5U}) {
    for (const unsigned series : {0U, 1U}) {
      cases.push_back({runners, 1, RuleKind::kAdagrad, series});
      cases.push_back({runners, 3, RuleKind::kMomentum, series});
    }
  }
  cases.push_back({2, 3, RuleKind::kSgd, 1});
  cases.push_back({2, 1, RuleKind::kAdam, 1});
  return cases;
}
std::string name_of(const testing::TestParamInfo<Case>& info) {
  return "Runners" + std::to_string(info.param.runners) + "Width" + std::to_string(info.param.width) + "Rule" +
         std::to_string(static_cast<int>(info.param.kind)) + "Series" + std::to_string(info.param.series);
}
INSTANTIATE_TEST_SUITE_P(Runners, RelayExchangeTest, testing::ValuesIn(all_cases()), name_of);

/// Rounds by three runners until one throws; every runner's error.
std::vector<std::string> errors_of(const std::function<void(RelayExchange&, Round, Contribution&)>& disturb) {
  constexpr unsigned kRunners = 3;
  const auto start = initial_parameters(2);
  RelayExchange relay(start, {}, {.runners = kRunners, .start = 40});
  std::vector<std::string> errors(kRunners);
  run_threads(kRunners, [&](unsigned runner) {
    try {
      for (Round round = 40 + runner;; round += kRunners) {
        auto contribution = contribution_of(start.layout, round, 0);
        disturb(relay, round, contribution);
        static_cast<void>(relay.rank(runner).read(round, contribution.tables[0].keys));
        relay.rank(runner).write(round, contribution);
      }
    } catch (const std::exception& error) {
      relay.abort(std::current_exception());
      errors[runner] = error.what();
    }
  });
  return errors;
}

TEST(RelayExchange, EndsTheRunOfAllRunnersWithTheErrorOfOne) {
  using testing::AllOf;
  using testing::Each;
  using testing::HasSubstr;
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  for (const Round bad : {40U, 41U, 45U}) {
    const auto where = HasSubstr("round " + std::to_string(bad));
    EXPECT_THAT(errors_of([&](RelayExchange&, Round round, Contribution& c) {
                  if (round == bad) c.tables[0].values.back() = kNaN;
                }),
                Each(AllOf(where, HasSubstr("'weights'"))));
    EXPECT_THAT(errors_of([&](RelayExchange&, Round round, Contribution& c) {
                  if (round == bad) c.loss = kNaN;
                }),
                Each(AllOf(where, HasSubstr("loss"))));
  }
}

TEST(RelayExchange, ReleasesEveryRunnerWithTheErrorOfAnAbort) {
  for (int repeat = 0; repeat < 30; ++repeat) {
    const auto ends = errors_of([](RelayExchange& relay, Round round, Contribution&) {
      if (round == 50) {
        relay.abort(std::make_exception_ptr(Error(ErrorKind::kInterrupted, "the user stopped it", "go on later")));
      }
    });
    EXPECT_THAT(ends, testing::Each("the user stopped it"));
  }
}

}  // namespace
}  // namespace virga
