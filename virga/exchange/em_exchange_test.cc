#include "virga/exchange/em_exchange.h"

#include <cmath>
#include <limits>
#include <memory>
#include <utility>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/base/threads.h"
#include "virga/channel/memory_channel.h"
#include "virga/collective/contribution_testing.h"
#include "virga/collective/pattern_testing.h"
#include "virga/exchange/em_threads.h"

namespace virga {
namespace {

constexpr std::uint64_t kEmRounds = 4;  // of an epoch
constexpr Round kEmAllRounds = 3 * kEmRounds;
constexpr std::uint32_t kEmRows = 120;

Layout em_parameters() { return {{.name = "centres", .rows = kEmRows, .width = 2, .sparse = false}}; }

/// A parameter is the sum of all that was summed up for it, over the weight, and a little of the epoch.
EmOptions em_of(double tolerance = 0) {
  return {.statistics = testing_double_layout(kEmRows, 2),
          .maximise =
              [](std::span<const std::vector<double>> statistics, std::uint32_t epoch, Tables& parameters) {
                for (std::size_t i = 0; i < parameters.values[0].size(); ++i) {
                  parameters.values[0][i] =
                      static_cast<float>(statistics[0][i] + statistics[1][i % 63] + statistics[2][0] + epoch);
                }
                return true;
              },
          .tolerance = tolerance};
}

class EmRanks : public testing::TestWithParam<std::tuple<std::uint32_t, Pattern>> {
 protected:
  /// All rounds; from epoch 1 on in new objects, if that is wanted.
  static std::vector<Tables> run(std::uint32_t ranks, Pattern pattern, bool restart) {
    MemoryChannel channel;
    std::vector<Tables> parameters(ranks, Tables(em_parameters()));
    run_threads(ranks, [&](unsigned rank) {
      const auto make = [&](std::uint32_t view, Position start) {
        return std::make_unique<EmExchange>(
            channel,
            ReplicaExchange::Options{.group = {.view = view, .rank = rank, .size = ranks},
                                     .all_reduce = {.pattern = pattern}},
            Tables(em_parameters()), em_of(), kEmRounds, cut_tables(em_of().statistics, ranks), start);
      };
      auto exchange = make(1, {});
      for (Round round = 0; round < kEmAllRounds; ++round) {
        if (restart && round == kEmRounds) {
          const auto state = exchange->save();
          exchange = make(2, exchange->position());
          exchange->load(state);
          EXPECT_EQ(exchange->save(), state);
        }
        const auto contribution = testing_contribution(em_of().statistics, round, rank);
        const auto& before = exchange->read(round, contribution.tables[0].keys);
        EXPECT_EQ(before.tables[0].size(), std::size_t{kEmRows} * 2);
        exchange->write(round, contribution);
        EXPECT_EQ(exchange->synchronised(), round % kEmRounds == kEmRounds - 1);
      }
      exchange->copy_parameters(parameters[rank]);
    });
    return parameters;
  }
  static std::vector<Tables> on_threads(std::uint32_t ranks) {
    EmThreads shared(ranks, Tables(em_parameters()), em_of(), kEmRounds);
    run_threads(ranks, [&](unsigned rank) {
      for (Round round = 0; round < kEmAllRounds; ++round) {
        (void)shared.rank(rank).read(round, {});
        shared.rank(rank).write(round, testing_contribution(em_of().statistics, round, rank));
      }
    });
    return std::vector<Tables>(ranks, shared.parameters(kEmAllRounds));
  }
};

TEST_P(EmRanks, MaximiseWhatAllHaveSummedUpInAnEpochWithTheSameBitsHoweverTheyTalk) {
  const auto [ranks, pattern] = GetParam();
  const auto outcome = run(ranks, pattern, false);
  EXPECT_EQ(outcome, on_threads(ranks));
  EXPECT_EQ(outcome, run(ranks, pattern, true));

  // Of the last epoch, in plain doubles.
  std::vector<double> sums(std::size_t{kEmRows} * 2), hidden(63), bias(2);
  for (Round round = 2 * kEmRounds; round < kEmAllRounds; ++round) {
    for (unsigned rank = 0; rank < ranks; ++rank) {
      const auto c = testing_contribution(em_of().statistics, round, rank);
      for (std::size_t k = 0; k < c.tables[0].keys.size(); ++k) {
        for (std::size_t w = 0; w < 2; ++w)
          sums[std::size_t{c.tables[0].keys[k]} * 2 + w] += c.tables[0].doubles[k * 2 + w];
      }
      for (std::size_t i = 0; i < c.tables[1].doubles.size(); ++i) hidden[i] += c.tables[1].doubles[i];
      for (std::size_t i = 0; i < c.tables[2].doubles.size(); ++i) bias[i] += c.tables[2].doubles[i];
    }
  }
  for (std::size_t i = 0; i < sums.size(); ++i) {
    EXPECT_NEAR(double{outcome[0].values[0][i]}, sums[i] + hidden[i % 63] + bias[0] + 2, 2e-6 * 40);
  }
}

INSTANTIATE_TEST_SUITE_P(RanksAndPatterns, EmRanks,
                         testing::Combine(testing::Values(1U, 2U, 5U),
                                          testing::Values(Pattern::kScatterReduce, Pattern::kAllToAll,
                                                          Pattern::kTree)));

TEST(EmExchange, HasConvergedOnceAnEpochLowersTheMeanLossByNoMoreThanTheTolerance) {
  const auto converged_after = [](double tolerance, const std::vector<double>& losses) {
    EmThreads shared(1, Tables(em_parameters()), em_of(tolerance), 1);
    for (Round round = 0; round < losses.size(); ++round) {
      Contribution contribution = testing_contribution(em_of().statistics, 0, 0);
      contribution.weight = 2;
      contribution.loss = 2 * losses[round];
      shared.rank(0).write(round, contribution);
      if (shared.converged()) return round + 1;
    }
    return Round{0};
  };
  EXPECT_EQ(converged_after(0.1, {100, 80, 73, 60}), 3U);  // less than a tenth of 80
  EXPECT_EQ(converged_after(0.01, {100, 80, 73, 60}), 0U);
  EXPECT_EQ(converged_after(0, {100, 80, 80}), 3U);
  EXPECT_EQ(converged_after(0, {100, 120}), 2U);
}

TEST(EmExchange, MayHaveAnAbsoluteToleranceForLossesOfAnySign) {
  const auto converged_after = [](double tolerance, const std::vector<double>& losses) {
    auto em = em_of(tolerance);
    em.absolute = true;
    auto shared = std::make_unique<EmThreads>(1, Tables(em_parameters()), em, 1);
    for (Round round = 0; round < losses.size(); ++round) {
      Contribution contribution = testing_contribution(em_of().statistics, 0, 0);
      contribution.weight = 2;
      contribution.loss = 2 * losses[round];
      shared->rank(0).write(round, contribution);
      if (shared->converged()) return round + 1;
    }
    return Round{0};
  };
  EXPECT_EQ(converged_after(0.1, {1, -1, -1.5, -1.55}), 4U);
  EXPECT_EQ(converged_after(0.01, {1, -1, -1.5, -1.55}), 0U);
  EXPECT_EQ(converged_after(1e-4, {-300'000, -300'000.001, -300'000.00105}), 3U) << "more digits than a float has";
}

TEST(EmExchange, ComparesNoEpochsBetweenWhichSomethingBeganAnew) {
  auto em = em_of(0);
  em.maximise = [](std::span<const std::vector<double>>, std::uint32_t epoch, Tables&) { return epoch != 1; };
  EmThreads shared(1, Tables(em_parameters()), em, 1);
  std::vector<bool> converged;
  for (Round round = 0; round < 4; ++round) {
    shared.rank(0).write(round, testing_contribution(em.statistics, 0, 0));  // the same loss in each
    converged.push_back(shared.converged());
  }
  EXPECT_THAT(converged, testing::ElementsAre(false, false, false, true));
}

TEST(EmExchange, EndsAllRanksWithTheErrorOfTheOneThatFailed) {
  EmThreads shared(3, Tables(em_parameters()), em_of(), 1);
  std::vector<std::string> errors(3);
  run_threads(3, [&](unsigned rank) {
    auto contribution = testing_contribution(em_of().statistics, 0, 0);
    if (rank == 1) contribution.tables[0].doubles[3] = std::numeric_limits<double>::infinity();
    try {
      shared.rank(rank).write(0, contribution);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kDiverged);
      errors[rank] = error.what();
    }
  });
  EXPECT_THAT(errors, testing::Each(testing::HasSubstr("round 0, rank 1: the sum of 'weights' is not finite in row")));
}

TEST(EmExchange, RefusesTheStateOfAnotherModel) {
  MemoryChannel channel;
  EmExchange exchange(channel, {}, Tables(em_parameters()), em_of(), 1, cut_tables(em_of().statistics, 1));
  auto state = exchange.save();
  state.rule.parameters.layout[0].name = "weights";
  EXPECT_THROW(exchange.load(state), Error);
}

}  // namespace
}  // namespace virga
