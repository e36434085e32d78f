#include "virga/exchange/memory_exchange.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "virga/base/error.h"
#include "virga/base/threads.h"
#include "virga/collective/tree_sum.h"
#include "virga/exchange/contribution_series_testing.h"

namespace virga {
namespace {

constexpr Round kRounds = 24;

/// One rank does everything, key by key, from the definition.
class SlowExchange {
 public:
  SlowExchange(const Tables& parameters, const UpdateRuleOptions& options) : rule(parameters, options) {}

  RoundTotals write(const std::vector<Contribution>& all) {
    std::vector<RoundTotals> totals;
    totals.reserve(all.size());
    for (const auto& c : all) totals.push_back({c.weight, c.loss, c.examples});
    tree_sum(std::span(totals), [](RoundTotals& a, const RoundTotals& b) {
      a = {a.weight + b.weight, a.loss + b.loss, a.examples + b.examples};
    });
    if (totals[0].weight == 0) return totals[0];
    for (std::size_t t = 0; t < rule.layout().size(); ++t) {
      const auto width = rule.layout()[t].width;
      std::vector<std::uint32_t> keys;
      std::vector<float> mean;
      for (std::uint32_t key = 0; key < rule.layout()[t].rows; ++key) {
        const auto before = mean.size();
        for (std::uint32_t column = 0; column < width; ++column) {
          std::vector<std::optional<float>> parts;
          parts.reserve(all.size());
          for (const auto& c : all) parts.push_back(value_of(c.tables[t], key, column, width));
          tree_sum(std::span(parts), [](std::optional<float>& a, const std::optional<float>& b) {
            if (b) a = a ? *a + *b : *b;
          });
          if (parts[0]) mean.push_back(*parts[0] / static_cast<float>(totals[0].weight));
        }
        if (mean.size() > before) keys.push_back(key);
      }
      if (rule.layout()[t].sparse) {
        rule.apply(step, t, keys, mean);
      } else {
        rule.apply_whole(step, t, 0, mean);
      }
    }
    ++step;
    return totals[0];
  }

  UpdateRule rule;
  std::uint64_t step = 0;

 private:
  static std::optional<float> value_of(const TableContribution& part, std::uint32_t key, std::uint32_t column,
                                       std::uint32_t width) {
    if (part.whole) return part.values.empty() ? std::nullopt : std::optional(part.values[key * width + column]);
    const auto found = std::ranges::lower_bound(part.keys, key);
    if (found == part.keys.end() || *found != key) return std::nullopt;
    return part.values[static_cast<std::size_t>(found - part.keys.begin()) * width + column];
  }
};

std::vector<Contribution> contributions_of(const Layout& layout, Round round, unsigned ranks) {
  std::vector<Contribution> all;
  for (unsigned rank = 0; rank < ranks; ++rank) all.push_back(contribution_of(layout, round, rank));
  return all;
}

void run_rounds(MemoryExchange& exchange, const Layout& layout, unsigned ranks, Round from, Round to) {
  run_threads(ranks, [&](unsigned rank) {
    auto& view = exchange.rank(rank);
    for (Round round = from; round < to; ++round) {
      const auto contribution = contribution_of(layout, round, rank);
      static_cast<void>(view.read(round, contribution.tables[0].keys));
      view.write(round, contribution);
    }
  });
}

struct Case {
  unsigned ranks;
  std::uint32_t width;
  RuleKind kind;
};
class MemoryExchangeTest : public testing::TestWithParam<Case> {
 protected:
  const unsigned ranks = GetParam().ranks;
  const Tables start = initial_parameters(GetParam().width);
  const Layout& layout = start.layout;
  const UpdateRuleOptions options{.kind = GetParam().kind,
                                  .learning_rate = 0.1,
                                  .l1 = GetParam().kind == RuleKind::kMomentum ? 0 : 1e-3,
                                  .l2 = 1e-2};
};

TEST_P(MemoryExchangeTest, HasTheBitsOfTheDefinitionInEveryRoundOnEveryRank) {
  MemoryExchange exchange(ranks, start, options);
  std::vector<std::vector<CompactParameters>> seen(ranks);
  std::vector<std::vector<double>> losses(ranks);
  run_threads(ranks, [&](unsigned rank) {
    auto& view = exchange.rank(rank);
    for (Round round = 0; round < kRounds; ++round) {
      const auto contribution = contribution_of(layout, round, rank);
      seen[rank].push_back(view.read(round, contribution.tables[0].keys));
      view.write(round, contribution);
      losses[rank].push_back(exchange.totals().loss);
    }
  });

  SlowExchange slow(start, options);
  for (Round round = 0; round < kRounds; ++round) {
    const auto all = contributions_of(layout, round, ranks);
    Tables expected(layout);
    slow.rule.copy_parameters(slow.step, expected);
    const auto totals = slow.write(all);
    for (unsigned rank = 0; rank < ranks; ++rank) {
      const auto& keys = all[rank].tables[0].keys;
      std::vector<float> rows;
      for (const auto key : keys) {
        const auto row = std::span(expected.values[0]).subspan(std::size_t{key} * layout[0].width, layout[0].width);
        rows.insert(rows.end(), row.begin(), row.end());
      }
      ASSERT_EQ(seen[rank][round].tables[0], rows) << "round " << round << ", rank " << rank;
      ASSERT_EQ(seen[rank][round].tables[1], expected.values[1]) << "round " << round << ", rank " << rank;
      ASSERT_EQ(seen[rank][round].tables[2], expected.values[2]) << "round " << round << ", rank " << rank;
      ASSERT_EQ(losses[rank][round], totals.loss);
    }
  }
  EXPECT_EQ(slow.step, kRounds - 1);  // round 5 was none
  Tables expected(layout);
  slow.rule.copy_parameters(slow.step, expected);
  EXPECT_EQ(exchange.parameters(kRounds), expected);
}

TEST_P(MemoryExchangeTest, DoesNotChangeWhenItsParametersAreLookedAt) {
  MemoryExchange quiet(ranks, start, options), watched(ranks, start, options);
  run_rounds(quiet, layout, ranks, 0, kRounds);
  for (Round round = 0; round < kRounds; round += 4) {
    static_cast<void>(watched.parameters(round));
    static_cast<void>(watched.parameters(round));
    run_rounds(watched, layout, ranks, round, round + 4);
  }
  EXPECT_EQ(quiet.parameters(kRounds), watched.parameters(kRounds));
}

TEST_P(MemoryExchangeTest, ChangesRateAndAccumulatorsBetweenEpochs) {
  MemoryExchange exchange(ranks, start, options);
  SlowExchange slow(start, options);
  for (Round round = 0; round < kRounds; round += 6) {  // round 5 is no step: the rule's step lags behind from then on
    run_rounds(exchange, layout, ranks, round, round + 6);
    for (Round r = round; r < round + 6; ++r) slow.write(contributions_of(layout, r, ranks));
    const double rate = 0.1 / static_cast<double>(round + 2);
    exchange.scale_accumulators(0.125);
    exchange.set_learning_rate(rate);
    slow.rule.scale_accumulators(slow.step, 0.125);
    slow.rule.set_learning_rate(slow.step, rate);
    Tables expected(layout);
    slow.rule.copy_parameters(slow.step, expected);
    ASSERT_EQ(exchange.parameters(round + 6), expected) << "after round " << round + 5;
  }
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const unsigned ranks : {1U, 2U, 3U, 4U, 5U, 8U}) {
    cases.push_back({ranks, 1, RuleKind::kAdagrad});
    cases.push_back({ranks, 3, RuleKind::kMomentum});
  }
  cases.push_back({3, 3, RuleKind::kSgd});
  cases.push_back({2, 3, RuleKind::kAdam});
  return cases;
}
std::string name_of(const testing::TestParamInfo<Case>& info) {
  return "Ranks" + std::to_string(info.param.ranks) + "Width" + std::to_string(info.param.width) + "Rule" +
         std::to_string(static_cast<int>(info.param.kind));
}
INSTANTIATE_TEST_SUITE_P(Ranks, MemoryExchangeTest, testing::ValuesIn(all_cases()), name_of);

TEST(MemoryExchange, ShowsTheInitialParametersBeforeAnyWrite) {
  const auto start = initial_parameters(2);
  MemoryExchange exchange(2, start, {}, /*start=*/40);
  CompactParameters seen;
  run_threads(2, [&](unsigned rank) {
    const auto& read = exchange.rank(rank).read(40, std::vector<std::uint32_t>{rank * 250, 499});
    if (rank == 0) seen = read;
  });
  EXPECT_THAT(seen.tables[0],
              testing::ElementsAre(start.values[0][0], start.values[0][1], start.values[0][998], start.values[0][999]));
  EXPECT_EQ(seen.tables[1], start.values[1]);
  EXPECT_EQ(seen.tables[2], start.values[2]);
  EXPECT_EQ(exchange.parameters(40), start);
}

TEST(MemoryExchange, CountsRoundsOfWeightZeroWithoutAStep) {
  const auto start = initial_parameters(1);
  MemoryExchange exchange(2, start, {.kind = RuleKind::kSgd, .l2 = 0.1});
  run_threads(2, [&](unsigned rank) {
    const auto nothing = contribution_of(start.layout, 5, rank);
    for (Round round = 0; round < 3; ++round) {
      static_cast<void>(exchange.rank(rank).read(round, {}));
      exchange.rank(rank).write(round, nothing);
    }
  });
  EXPECT_EQ(exchange.totals().weight, 0);
  EXPECT_EQ(exchange.parameters(3), start);  // no decay either
}

/// Runs round 0 on `ranks` ranks, of which `bad` has changed its contribution, and returns every rank's Error.
std::vector<std::string> errors_of(unsigned ranks, unsigned bad, const std::function<void(Contribution&)>& change) {
  const auto start = initial_parameters(2);
  MemoryExchange exchange(ranks, start, {});
  std::vector<std::string> errors(ranks);
  run_threads(ranks, [&](unsigned rank) {
    auto contribution = std::make_unique<Contribution>(contribution_of(start.layout, 1, rank));
    if (rank == bad) change(*contribution);
    try {
      exchange.rank(rank).write(0, *contribution);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kDiverged);
      EXPECT_NE(error.remedy(), "");
      errors[rank] = error.what();
    }
    // The contribution ends here, error or not: nobody may still be reading it.
  });
  return errors;
}

TEST(MemoryExchange, EndsTheRunOfAllRanksWhenOneContributionIsNotFinite) {
  using testing::AllOf;
  using testing::Each;
  using testing::HasSubstr;
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const unsigned ranks : {1U, 2U, 5U}) {
    const unsigned bad = ranks - 1;
    const auto who = HasSubstr("round 0, rank " + std::to_string(bad));
    EXPECT_THAT(errors_of(ranks, bad, [](Contribution& c) { c.loss = kNaN; }), Each(AllOf(who, HasSubstr("loss"))));
    EXPECT_THAT(errors_of(ranks, bad, [](Contribution& c) { c.weight = kInfinity; }), Each(who));
    for (const float value : {kNaN, kInfinity, -kInfinity}) {
      std::string key;
      const auto sparse = errors_of(ranks, bad, [&](Contribution& c) {
        c.tables[0].values.back() = value;
        key = std::to_string(c.tables[0].keys.back());
      });
      EXPECT_THAT(sparse, Each(AllOf(who, HasSubstr("'weights'"), HasSubstr("row " + key))));
      const auto whole = errors_of(ranks, bad, [&](Contribution& c) { c.tables[1].values[15] = value; });
      EXPECT_THAT(whole, Each(AllOf(who, HasSubstr("'hidden'"), HasSubstr("row 2"))));
    }
  }
}

TEST(MemoryExchange, EndsTheRunOfAllRanksWhenTheMeanOverflows) {
  for (int repeat = 0; repeat < 30; ++repeat) {
    // Each is finite, their sum is not.
    const auto start = initial_parameters(1);
    MemoryExchange exchange(4, start, {});
    std::vector<std::string> errors(4);
    run_threads(4, [&](unsigned rank) {
      auto contribution = std::make_unique<Contribution>(contribution_of(start.layout, 1, rank));
      contribution->tables[1].values[20] = std::numeric_limits<float>::max();
      try {
        exchange.rank(rank).write(0, *contribution);
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kDiverged);
        errors[rank] = error.what();
      }
    });
    EXPECT_THAT(errors, testing::Each(testing::HasSubstr("round 0: the mean gradient")));
  }
}

TEST(MemoryExchange, ReleasesEveryRankWithTheErrorOfAnAbort) {
  const auto start = initial_parameters(1);
  for (int repeat = 0; repeat < 30; ++repeat) {
    MemoryExchange exchange(3, start, {});
    std::vector<std::string> ends(3);
    run_threads(4, [&](unsigned rank) {
      if (rank == 3) {
        return exchange.abort(std::make_exception_ptr(Error(ErrorKind::kInterrupted, "the user stopped it")));
      }
      try {
        for (Round round = 0;; ++round) {
          const auto contribution = std::make_unique<Contribution>(contribution_of(start.layout, round % 4 + 1, rank));
          static_cast<void>(exchange.rank(rank).read(round, contribution->tables[0].keys));
          exchange.rank(rank).write(round, *contribution);
        }
      } catch (const Error& error) {
        ends[rank] = error.what();
      }
    });
    EXPECT_THAT(ends, testing::Each("the user stopped it"));
  }
}

}  // namespace
}  // namespace virga
