#include "virga/exchange/model_averaging_exchange.h"

#include <cmath>
#include <memory>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/base/threads.h"
#include "virga/channel/memory_channel.h"
#include "virga/collective/contribution_testing.h"
#include "virga/collective/pattern_testing.h"

namespace virga {
namespace {

constexpr std::uint32_t kModelRows = 300;
constexpr std::uint64_t kRoundsPerEpoch = 7;
constexpr Round kAllRounds = 3 * kRoundsPerEpoch;

Tables some_parameters(const Layout& layout) {
  Tables tables(layout);
  const Random random(5, Purpose::kTest);
  std::uint64_t item = 0;
  for (auto& values : tables.values) {
    for (auto& value : values) value = static_cast<float>(random.uniform(0, item++) - 0.5);
  }
  return tables;
}

struct AveragingCase {
  std::uint32_t ranks;
  std::uint64_t period;
  Pattern pattern;
  RuleKind rule;
};

class ModelAveraging : public testing::TestWithParam<AveragingCase> {
 protected:
  const Layout layout = testing_layout(kModelRows, 2);
  const Period period{.rounds = GetParam().period, .rounds_per_epoch = kRoundsPerEpoch};
  const UpdateRuleOptions rule{.kind = GetParam().rule, .learning_rate = 0.05, .l2 = 1e-2};

  struct Outcome {
    std::vector<Tables> parameters;     // [rank]
    std::vector<ReplicaState> states;   // [rank]
    std::vector<RoundTotals> totals;    // of each synchronisation, as rank 0 sees it
    std::vector<std::uint64_t> rounds;  // after which there was one
  };

  /// All rounds; at each synchronisation from `restart_after` on once in new objects.
  Outcome run(Pattern pattern, Round restart_after = kAllRounds) const {
    const auto ranks = GetParam().ranks;
    MemoryChannel channel;
    Outcome outcome;
    outcome.parameters.resize(ranks, Tables(layout));
    outcome.states.resize(ranks);
    run_threads(ranks, [&](unsigned rank) {
      const auto make = [&](std::uint32_t view, const Tables& parameters, Position start) {
        return std::make_unique<ModelAveragingExchange>(
            channel,
            ReplicaExchange::Options{.group = {.view = view, .rank = rank, .size = ranks},
                                     .all_reduce = {.pattern = pattern}},
            parameters, rule, period, cut_tables(ModelAveragingExchange::summed_layout(layout, rule.kind), ranks),
            start);
      };
      auto exchange = make(1, some_parameters(layout), {});
      bool restarted = false;
      for (Round round = 0; round < kAllRounds; ++round) {
        if (round >= restart_after && exchange->synchronised() && !std::exchange(restarted, true)) {
          const auto state = exchange->save();
          exchange = make(2, Tables(layout), exchange->position());
          exchange->load(state);
        }
        const auto contribution = testing_contribution(layout, round, rank);
        (void)exchange->read(round, contribution.tables[0].keys);
        exchange->write(round, contribution);
        EXPECT_EQ(exchange->synchronised(), period.ends_after(round));
        if (rank > 0 || !exchange->synchronised()) continue;
        outcome.rounds.push_back(round);
        outcome.totals.push_back(exchange->totals());
      }
      exchange->copy_parameters(outcome.parameters[rank]);
      outcome.states[rank] = exchange->save();
    });
    return outcome;
  }

  /// The definition: whole models, averaged in doubles.
  Tables reference() const {
    const auto ranks = GetParam().ranks;
    std::vector<std::unique_ptr<UpdateRule>> rules(ranks);
    for (auto& one : rules) one = std::make_unique<UpdateRule>(some_parameters(layout), rule);
    std::vector<double> weights(ranks);
    for (Round round = 0; round < kAllRounds; ++round) {
      for (unsigned rank = 0; rank < ranks; ++rank) {
        const auto sum = testing_contribution(layout, round, rank);
        weights[rank] += sum.weight;
        for (std::size_t t = 0; t < layout.size() && sum.weight > 0; ++t) {
          auto mean = sum.tables[t].values;
          for (auto& value : mean) value /= static_cast<float>(sum.weight);
          layout[t].sparse ? rules[rank]->apply(round, t, sum.tables[t].keys, mean)
                           : rules[rank]->apply_whole(round, t, 0, mean);
        }
      }
      if (!period.ends_after(round)) continue;
      RuleState mean;
      double total = 0;
      std::vector<std::vector<double>> sums;
      for (unsigned rank = 0; rank < ranks; ++rank) {
        rules[rank]->catch_up(round + 1);
        mean = rules[rank]->save();
        total += weights[rank];
        std::size_t array = 0;
        for (const auto* tables : {&mean.parameters, &mean.states}) {
          for (const auto& values : tables->values) {
            if (sums.size() <= array) sums.emplace_back(values.size());
            for (std::size_t i = 0; i < values.size(); ++i) sums[array][i] += weights[rank] * values[i];
            ++array;
          }
        }
      }
      weights.assign(ranks, 0);
      std::size_t array = 0;
      for (auto* tables : {&mean.parameters, &mean.states}) {
        for (auto& values : tables->values) {
          if (total == 0) continue;
          for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(sums[array][i] / total);
          ++array;
        }
      }
      for (auto& one : rules) one->load(round + 1, mean);
    }
    Tables result(layout);
    rules[0]->copy_parameters(kAllRounds, result);
    return result;
  }
};

TEST_P(ModelAveraging, FollowsTheDefinition) {
  const auto outcome = run(GetParam().pattern);
  const auto expected = reference();
  for (std::size_t t = 0; t < layout.size(); ++t) {
    for (std::size_t i = 0; i < expected.values[t].size(); ++i) {
      ASSERT_NEAR(outcome.parameters[0].values[t][i], expected.values[t][i],
                  3e-5 * (1 + std::abs(expected.values[t][i])))
          << layout[t].name << " " << i;
    }
  }
}

TEST_P(ModelAveraging, EndsWithTheSameModelEverywhere) {
  const auto outcome = run(GetParam().pattern);
  for (std::size_t rank = 1; rank < outcome.parameters.size(); ++rank) {
    EXPECT_EQ(outcome.parameters[rank], outcome.parameters[0]);
    EXPECT_EQ(outcome.states[rank].rule.states, outcome.states[0].rule.states);
  }
}

TEST_P(ModelAveraging, HasTheSameBitsInAllPatternsAndWhenItGoesOnFromItsState) {
  const auto outcome = run(GetParam().pattern);
  for (const auto pattern : kPatterns) EXPECT_EQ(run(pattern).parameters, outcome.parameters);
  EXPECT_EQ(run(GetParam().pattern, kAllRounds / 2).parameters, outcome.parameters);
}

TEST_P(ModelAveraging, CountsWhatAllRanksDid) {
  const auto outcome = run(GetParam().pattern);
  RoundTotals expected, found;
  for (Round round = 0; round < kAllRounds; ++round) {
    for (unsigned rank = 0; rank < GetParam().ranks; ++rank) {
      const auto c = testing_contribution(layout, round, rank);
      expected.examples += c.examples;
      expected.loss += c.loss;
    }
  }
  for (const auto& totals : outcome.totals) {
    found.examples += totals.examples;
    found.loss += totals.loss;
  }
  EXPECT_EQ(found.examples, expected.examples);
  EXPECT_NEAR(found.loss, expected.loss, 1e-9);
}

INSTANTIATE_TEST_SUITE_P(All, ModelAveraging,
                         testing::Values(AveragingCase{1, 3, Pattern::kScatterReduce, RuleKind::kAdagrad},
                                         AveragingCase{2, 1, Pattern::kAllToAll, RuleKind::kSgd},
                                         AveragingCase{2, 3, Pattern::kLeader, RuleKind::kMomentum},
                                         AveragingCase{3, 0, Pattern::kScatterReduce, RuleKind::kAdagrad},
                                         AveragingCase{4, 2, Pattern::kScatterReduce, RuleKind::kAdam},
                                         AveragingCase{5, 0, Pattern::kAllToAll, RuleKind::kSgd}),
                         [](const auto& test) {
                           return std::to_string(test.param.ranks) + "Every" + std::to_string(test.param.period) +
                                  name_of(test.param.pattern) + std::to_string(static_cast<int>(test.param.rule));
                         });

TEST(Period, EndsWithTheEpoch) {
  const Period by_rounds{.rounds = 3, .rounds_per_epoch = 7};
  const Period by_epochs{.rounds_per_epoch = 2};
  std::vector<Round> first, second;
  for (Round round = 0; round < 14; ++round) {
    if (by_rounds.ends_after(round)) first.push_back(round);
    if (round < 6 && by_epochs.ends_after(round)) second.push_back(round);
  }
  EXPECT_THAT(first, testing::ElementsAre(2, 5, 6, 9, 12, 13));
  EXPECT_THAT(second, testing::ElementsAre(1, 3, 5));
}

}  // namespace
}  // namespace virga
