#include "virga/exchange/admm_exchange.h"

#include <cmath>
#include <memory>
#include <optional>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/base/random.h"
#include "virga/base/threads.h"
#include "virga/channel/memory_channel.h"
#include "virga/collective/pattern_testing.h"

namespace virga {
namespace {

constexpr std::uint32_t kFeatures = 60;
constexpr std::uint32_t kHidden = 5;
constexpr std::uint64_t kStepsPerEpoch = 4;

/// Each rank has a quadratic (1/2) sum of a_j (w_j - b_j)^2 over the features that it has, the same in all rounds, and
/// as many examples as rank + 1.
struct Quadratics {
  std::uint32_t ranks;
  Layout layout{{.name = "weights", .rows = kFeatures, .width = 1, .regularised = true, .sparse = true},
                {.name = "hidden", .rows = 1, .width = kHidden, .regularised = true, .sparse = false},
                {.name = "bias", .rows = 1, .width = 1, .regularised = false, .sparse = false}};

  [[nodiscard]] double share(unsigned rank) const { return (rank + 1.0) / (ranks * (ranks + 1.0) / 2); }
  [[nodiscard]] static bool has(unsigned rank, std::uint32_t feature) { return (feature + rank) % 3 != 0; }
  [[nodiscard]] static double curvature(unsigned rank, std::size_t t, std::uint32_t i) {
    if (t == 0 && !has(rank, i)) return 0;
    return 0.2 + Random(7, Purpose::kTest).uniform(static_cast<std::uint32_t>(std::uint64_t{10} * rank + t), i);
  }
  [[nodiscard]] static double centre(unsigned rank, std::size_t t, std::uint32_t i) {
    return 4 * Random(8, Purpose::kTest).uniform(static_cast<std::uint32_t>(std::uint64_t{10} * rank + t), i) - 2;
  }
  [[nodiscard]] static std::vector<std::uint32_t> keys(unsigned rank) {
    std::vector<std::uint32_t> keys;
    for (std::uint32_t i = 0; i < kFeatures; ++i) {
      if (has(rank, i)) keys.push_back(i);
    }
    return keys;
  }

  [[nodiscard]] Contribution gradient(unsigned rank, const CompactParameters& at) const {
    Contribution result;
    result.weight = rank + 1;
    result.examples = rank + 1;
    for (std::size_t t = 0; t < layout.size(); ++t) {
      auto& table = result.tables.emplace_back();
      table.whole = !layout[t].sparse;
      if (layout[t].sparse) table.keys = keys(rank);
      for (std::size_t i = 0; i < at.tables[t].size(); ++i) {
        const auto j = layout[t].sparse ? table.keys[i] : static_cast<std::uint32_t>(i);
        table.values.push_back(
            static_cast<float>(result.weight * curvature(rank, t, j) * (at.tables[t][i] - centre(rank, t, j))));
      }
    }
    return result;
  }

  /// Where sum of share_i F_i + l1 |w| + (l2 / 2) |w|^2 is least.
  [[nodiscard]] double optimum(std::size_t t, std::uint32_t i, double l1, double l2) const {
    double slope = 0, curve = 0;
    for (unsigned rank = 0; rank < ranks; ++rank) {
      slope += share(rank) * curvature(rank, t, i) * centre(rank, t, i);
      curve += share(rank) * curvature(rank, t, i);
    }
    if (!layout[t].regularised) return slope / curve;
    const auto left = std::abs(slope) - l1;
    return left <= 0 ? 0 : std::copysign(left, slope) / (curve + l2);
  }
};

struct AdmmCase {
  std::uint32_t ranks;
  double l1, l2;
  Pattern pattern;
};

class Admm : public testing::TestWithParam<AdmmCase> {
 protected:
  const Quadratics problem{GetParam().ranks};
  const AdmmExchange::Penalty penalty{.rho = 0.3, .absolute = 1e-6, .relative = 1e-5};
  const UpdateRuleOptions rule{.kind = RuleKind::kSgd, .learning_rate = 0.5, .l1 = GetParam().l1, .l2 = GetParam().l2};

  struct Outcome {
    Tables parameters;
    std::vector<ReplicaState> states;     // [rank]
    std::optional<std::uint64_t> epochs;  // until it had converged
  };

  Outcome run(std::uint64_t epochs, Pattern pattern, std::uint64_t restart_after = 1'000'000) const {
    const auto ranks = GetParam().ranks;
    MemoryChannel channel;
    Outcome outcome;
    outcome.states.resize(ranks);
    const Period period{.rounds_per_epoch = kStepsPerEpoch};
    run_threads(ranks, [&](unsigned rank) {
      const auto make = [&](std::uint32_t view, Position start) {
        return std::make_unique<AdmmExchange>(
            channel,
            ReplicaExchange::Options{.group = {.view = view, .rank = rank, .size = ranks},
                                     .all_reduce = {.pattern = pattern}},
            Tables(problem.layout), rule, penalty, period,
            cut_tables(AdmmExchange::summed_layout(problem.layout), ranks), start);
      };
      auto exchange = make(1, {});
      for (Round round = 0; round < epochs * kStepsPerEpoch && !exchange->converged(); ++round) {
        if (round == restart_after * kStepsPerEpoch) {
          const auto state = exchange->save();
          exchange = make(2, exchange->position());
          exchange->load(state);
          EXPECT_EQ(exchange->save(), state);
        }
        const auto& parameters = exchange->read(round, Quadratics::keys(rank));
        exchange->write(round, problem.gradient(rank, parameters));
        if (rank == 0 && exchange->converged()) outcome.epochs = (round + 1) / kStepsPerEpoch;
      }
      if (rank == 0) {
        outcome.parameters = Tables(problem.layout);
        exchange->copy_parameters(outcome.parameters);
      }
      outcome.states[rank] = exchange->save();
    });
    return outcome;
  }

  /// The definition in doubles: whole vectors, gradient steps on x itself.
  std::vector<std::vector<double>> reference(std::uint64_t epochs) const {
    std::vector<std::vector<double>> z;
    const auto ranks = GetParam().ranks;
    for (std::size_t t = 0; t < problem.layout.size(); ++t) {
      const auto size = problem.layout[t].size();
      std::vector<double> all(size);
      std::vector<std::vector<double>> x(ranks, all), u(ranks, all);
      for (std::uint64_t epoch = 0; epoch < epochs; ++epoch) {
        std::vector<double> mean(size);
        for (unsigned rank = 0; rank < ranks; ++rank) {
          for (std::uint32_t i = 0; i < size; ++i) {
            const auto a = Quadratics::curvature(rank, t, i), b = Quadratics::centre(rank, t, i);
            for (std::uint64_t step = 0; step < kStepsPerEpoch; ++step) {
              x[rank][i] -=
                  rule.learning_rate * (a * (x[rank][i] - b) + penalty.rho * (x[rank][i] - all[i] + u[rank][i]));
            }
            // A rank that has nothing to say about a feature is at the minimum of the rest.
            if (a == 0) x[rank][i] = all[i] - u[rank][i];
            mean[i] += problem.share(rank) * (x[rank][i] + u[rank][i]);
          }
        }
        for (std::uint32_t i = 0; i < size; ++i) {
          all[i] = mean[i];
          if (problem.layout[t].regularised) {
            const auto left = std::abs(mean[i]) - rule.l1 / penalty.rho;
            all[i] = left <= 0 ? 0 : std::copysign(left, mean[i]) * penalty.rho / (penalty.rho + rule.l2);
          }
          for (unsigned rank = 0; rank < ranks; ++rank) u[rank][i] += x[rank][i] - all[i];
        }
      }
      z.push_back(all);
    }
    return z;
  }
};

TEST_P(Admm, FollowsTheDefinition) {
  for (const std::uint64_t epochs : {1U, 2U, 9U}) {
    const auto found = run(epochs, GetParam().pattern).parameters;
    const auto expected = reference(epochs);
    for (std::size_t t = 0; t < problem.layout.size(); ++t) {
      for (std::size_t i = 0; i < expected[t].size(); ++i) {
        ASSERT_NEAR(found.values[t][i], expected[t][i], 1e-5) << epochs << " epochs, " << problem.layout[t].name << i;
      }
    }
  }
}

TEST_P(Admm, EndsAtTheMinimumAndKnowsIt) {
  const auto outcome = run(400, GetParam().pattern);
  ASSERT_TRUE(outcome.epochs.has_value());
  EXPECT_LT(*outcome.epochs, 300);
  for (std::size_t t = 0; t < problem.layout.size(); ++t) {
    for (std::uint32_t i = 0; i < problem.layout[t].size(); ++i) {
      const auto expected = problem.optimum(t, i, rule.l1, rule.l2);
      ASSERT_NEAR(outcome.parameters.values[t][i], expected, 1e-3) << problem.layout[t].name << i;
      if (expected == 0) {
        ASSERT_EQ(outcome.parameters.values[t][i], 0) << "l1 gives zeros";
      }
    }
  }
}

TEST_P(Admm, HasTheSameBitsInAllPatternsAndWhenItGoesOnFromItsState) {
  const auto outcome = run(12, GetParam().pattern);
  for (const auto pattern : kPatterns) EXPECT_EQ(run(12, pattern).parameters, outcome.parameters);
  const auto again = run(12, GetParam().pattern, 5);
  EXPECT_EQ(again.parameters, outcome.parameters);
  EXPECT_EQ(again.states, outcome.states);
}

INSTANTIATE_TEST_SUITE_P(
    All, Admm,
    testing::Values(AdmmCase{1, 0, 0.1, Pattern::kLeader}, AdmmCase{2, 0.05, 0, Pattern::kAllToAll},
                    AdmmCase{3, 0.1, 0.05, Pattern::kScatterReduce}, AdmmCase{5, 0, 0, Pattern::kScatterReduce}),
    [](const auto& test) { return std::to_string(test.param.ranks) + name_of(test.param.pattern); });

TEST(Admm, RefusesTheStateOfAnotherModel) {
  const Quadratics problem{1};
  MemoryChannel channel;
  const Layout other{{.name = "weights", .rows = 3, .width = 1, .regularised = true, .sparse = true}};
  AdmmExchange exchange(channel, {.group = {.view = 1, .rank = 0, .size = 1}}, Tables(problem.layout), {}, {}, {},
                        cut_tables(AdmmExchange::summed_layout(problem.layout), 1));
  const AdmmExchange another(channel, {.group = {.view = 1, .rank = 0, .size = 1}}, Tables(other), {}, {}, {},
                             cut_tables(AdmmExchange::summed_layout(other), 1));
  EXPECT_THROW(exchange.load(another.save()), Error);
}

}  // namespace
}  // namespace virga
