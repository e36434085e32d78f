#include "virga/optimizer/update_rule.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "virga/base/error.h"
#include "virga/base/random.h"
#include "virga/base/threads.h"

namespace virga {
namespace {

constexpr std::uint32_t kRows = 12;
constexpr std::uint32_t rows_of(std::uint32_t width) { return width < 100 ? kRows : 5; }  // for the time that it takes
const Random kRandom(7, Purpose::kTest);

double soft_threshold(double x, double by) { return std::copysign(std::max(std::abs(x) - by, 0.0), x); }

/// The definitions in double precision: every parameter is computed in every step.
class DenseRule {
 public:
  DenseRule(const std::vector<float>& parameters, const UpdateRuleOptions& rule_options)
      : options(rule_options),
        w(parameters.begin(), parameters.end()),
        s1(w.size(), options.kind == RuleKind::kAdagrad ? options.initial_accumulator : 0),
        s2(w.size()),
        scale(w.size()),
        touches(w.size()) {
    for (std::size_t i = 0; i < w.size(); ++i) scale[i] = std::abs(w[i]);
  }

  void step(std::size_t i, std::uint64_t number, bool touched, double g) {
    const auto& o = options;
    switch (o.kind) {
      case RuleKind::kSgd:
        w[i] = soft_threshold(w[i] - o.learning_rate * (g + o.l2 * w[i]), o.learning_rate * o.l1);
        break;
      case RuleKind::kMomentum:
      case RuleKind::kNesterov: {
        const double u = g + o.l2 * w[i];
        s1[i] = o.momentum * s1[i] + u;
        w[i] -= o.learning_rate * (o.kind == RuleKind::kNesterov ? u + o.momentum * s1[i] : s1[i]);
        scale[i] = std::max(scale[i], o.learning_rate * std::abs(s1[i]) / (1 - o.momentum));
        break;
      }
      case RuleKind::kAdagrad: {
        s1[i] += g * g;
        const double a = o.learning_rate / std::sqrt(s1[i] + o.epsilon);
        w[i] = soft_threshold(w[i] - a * g, a * o.l1) / (1 + a * o.l2);
        break;
      }
      case RuleKind::kAdam: {
        s1[i] = o.beta1 * s1[i] + (1 - o.beta1) * g;
        s2[i] = o.beta2 * s2[i] + (1 - o.beta2) * g * g;
        if (!touched) break;
        const auto t = static_cast<double>(number + 1);
        const double a = o.learning_rate / (std::sqrt(s2[i] / (1 - std::pow(o.beta2, t))) + o.epsilon);
        w[i] = soft_threshold(w[i] - a * s1[i] / (1 - std::pow(o.beta1, t)), a * o.l1) / (1 + a * o.l2);
        break;
      }
    }
    scale[i] = std::max(scale[i], std::abs(w[i]));
    touches[i] += touched ? 1 : 0;
  }

  /// How far the rule's single precision may be away. Catching up: 1e-6. Each touched step: some roundings of 2^-24 of
  /// the largest value that the parameter (or what its velocity will add to it) has had.
  [[nodiscard]] double tolerance(std::size_t i) const {
    double each = 6 * 0x1p-24 * scale[i];
    // beta2 in single precision is off by 1.3e-8, which 1 / (1 - beta2) steps add up in the second moment.
    if (options.kind == RuleKind::kAdam) each += 2e-5 * options.learning_rate;
    return 1e-6 * scale[i] + touches[i] * each;
  }

  UpdateRuleOptions options;
  std::vector<double> w, s1, s2;
  std::vector<double> scale;  ///< largest value so far
  std::vector<int> touches;
};

/// Row 0 is never touched, row 1 in every step, row 2 at long intervals, the others at random, from often to seldom.
bool is_touched(std::uint64_t step, std::uint32_t row) {
  if (row == 0) return false;
  if (row == 1) return true;
  if (row == 2) return step % 150 == 149;
  return kRandom.uniform(0, step * kRows + row) < 1.0 / (row - 1);
}
std::vector<std::uint32_t> touched_rows(std::uint64_t step, std::uint32_t width) {
  std::vector<std::uint32_t> rows;
  for (std::uint32_t row = 0; row < rows_of(width); ++row) {
    if (is_touched(step, row)) rows.push_back(row);
  }
  return rows;
}

/// Gradients come in several sizes; some are zero, as those of the hinge loss are.
float gradient_at(std::uint64_t step, std::size_t element, std::uint32_t draw) {
  const double x = kRandom.uniform(1, step * 100'000 + element, draw);
  const double size = std::exp2(-static_cast<double>(element % 5));
  return x < 0.1 ? 0 : static_cast<float>((x - 0.45) * size);
}
std::vector<float> gradient_of(std::uint64_t step, const std::vector<std::uint32_t>& keys, std::size_t width) {
  std::vector<float> gradient;
  for (const auto key : keys) {
    for (std::size_t c = 0; c < width; ++c) gradient.push_back(gradient_at(step, key * width + c, 0));
  }
  return gradient;
}
std::vector<float> bias_gradient_of(std::uint64_t step, std::size_t size) {
  std::vector<float> gradient(size);
  for (std::size_t i = 0; i < size; ++i) gradient[i] = gradient_at(step, i, 1);
  return gradient;
}

Layout layout_of(std::uint32_t width) {
  return {{.name = "weights", .rows = rows_of(width), .width = width, .regularised = true, .sparse = true},
          {.name = "bias", .rows = 1, .width = width, .regularised = false, .sparse = false}};
}
Tables initial_parameters(const Layout& layout) {
  Tables tables(layout);
  std::uint64_t item = 0;
  for (auto& values : tables.values) {
    for (auto& value : values) value = static_cast<float>(2 * kRandom.uniform(2, item++) - 1);
  }
  return tables;
}

struct Case {
  RuleKind kind;
  double l1;
  double l2;
  std::uint32_t width;
};
std::string name_of(const testing::TestParamInfo<Case>& info) {
  constexpr const char* kNames[] = {"Sgd", "Momentum", "Nesterov", "Adagrad", "Adam"};
  return std::string(kNames[static_cast<int>(info.param.kind)]) + (info.param.l1 > 0 ? "L1" : "") +
         (info.param.l2 > 0 ? "L2" : "") + "Width" + std::to_string(info.param.width);
}
std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const auto kind :
       {RuleKind::kSgd, RuleKind::kMomentum, RuleKind::kNesterov, RuleKind::kAdagrad, RuleKind::kAdam}) {
    for (const double l1 : {0.0, 0.004}) {
      if (l1 > 0 && (kind == RuleKind::kMomentum || kind == RuleKind::kNesterov)) continue;
      for (const double l2 : {0.0, 0.02}) {
        for (const std::uint32_t width : {1U, 10U, 300U}) cases.push_back({kind, l1, l2, width});
      }
    }
  }
  return cases;
}
UpdateRuleOptions options_of(const Case& c) {
  return {.kind = c.kind,
          .learning_rate = c.kind == RuleKind::kAdam ? 0.01 : 0.1,
          .l1 = c.l1,
          .l2 = c.l2,
          .epsilon = c.kind == RuleKind::kAdagrad ? 1e-3 : 1e-8};
}

class UpdateRuleTest : public testing::TestWithParam<Case> {
 protected:
  const std::uint32_t width = GetParam().width;
  const std::uint64_t steps = width < 100 ? 320 : 160;
  const Layout layout = layout_of(width);
  const Tables start = initial_parameters(layout);
  const UpdateRuleOptions options = options_of(GetParam());

  void apply(UpdateRule& rule, std::uint64_t step) const {
    const auto keys = touched_rows(step, width);
    rule.apply(step, 0, keys, gradient_of(step, keys, width));
    rule.apply_whole(step, 1, 0, bias_gradient_of(step, width));
  }
  void apply(DenseRule& weights, DenseRule& bias, std::uint64_t step) const {
    for (std::size_t i = 0; i < weights.w.size(); ++i) {
      const bool touched = is_touched(step, static_cast<std::uint32_t>(i / width));
      weights.step(i, step, touched, touched ? gradient_at(step, i, 0) : 0);
    }
    for (std::size_t i = 0; i < width; ++i) bias.step(i, step, true, gradient_at(step, i, 1));
  }
  [[nodiscard]] DenseRule dense_weights() const { return {start.values[0], options}; }
  [[nodiscard]] DenseRule dense_bias() const {
    auto plain = options;
    plain.l1 = plain.l2 = 0;
    return {start.values[1], plain};
  }
};

void expect_near(std::span<const float> found, const DenseRule& expected, std::size_t first, const char* what) {
  for (std::size_t i = 0; i < found.size(); ++i) {
    ASSERT_NEAR(found[i], expected.w[first + i], expected.tolerance(first + i))
        << what << ", element " << first + i << ", touched " << expected.touches[first + i] << " times";
  }
}

void expect_state_near(const Tables& state, const DenseRule& weights) {
  const auto kind = weights.options.kind;
  const std::size_t states = kind == RuleKind::kSgd ? 0 : kind == RuleKind::kAdam ? 2 : 1;
  ASSERT_EQ(state.values.size(), 2 * states);
  for (std::size_t s = 0; s < states; ++s) {
    const auto& expected = s == 0 ? weights.s1 : weights.s2;
    const double largest = std::abs(*std::ranges::max_element(expected, {}, [](double x) { return std::abs(x); }));
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(state.values[s][i], expected[i], 2e-5 * std::abs(expected[i]) + 1e-6 * largest)
          << state.layout[s].name << ", element " << i;
    }
  }
}

TEST_P(UpdateRuleTest, FollowsTheDenseDefinition) {
  UpdateRule rule(start, options);
  auto weights = dense_weights();
  auto bias = dense_bias();

  for (std::uint64_t step = 0; step < steps; ++step) {
    const auto keys = touched_rows(step, width);
    std::vector<float> read(keys.size() * width);
    rule.read(step, 0, keys, read);
    for (std::size_t k = 0; k < keys.size(); ++k) {
      expect_near(std::span(read).subspan(k * width, width), weights, std::size_t{keys[k]} * width, "read");
    }
    apply(rule, step);
    apply(weights, bias, step);
    if (HasFatalFailure()) return;
  }

  Tables found(layout);
  rule.copy_parameters(steps, found);
  expect_near(found.values[0], weights, 0, "weights");
  expect_near(found.values[1], bias, 0, "bias");
  std::vector<float> whole(width);
  rule.read_whole(1, whole);
  EXPECT_EQ(whole, found.values[1]);
  expect_state_near(rule.state(steps), weights);
}

TEST_P(UpdateRuleTest, FollowsTheDenseDefinitionWhenTheRateChangesAndAccumulatorsFade) {
  UpdateRule rule(start, options);
  auto weights = dense_weights();
  auto bias = dense_bias();

  for (std::uint64_t step = 0; step < steps; ++step) {
    if (step == 60 || step == 130) {
      rule.set_learning_rate(step, rule.options().learning_rate / 3);
      rule.scale_accumulators(step, 0.125);
      for (auto* dense : {&weights, &bias}) {
        dense->options.learning_rate /= 3;
        if (options.kind == RuleKind::kAdagrad) std::ranges::for_each(dense->s1, [](double& x) { x *= 0.125; });
      }
    }
    apply(rule, step);
    apply(weights, bias, step);
  }

  Tables found(layout);
  rule.copy_parameters(steps, found);
  for (auto* dense : {&weights, &bias}) {
    // Half-way changes go through single precision like a touched step.
    std::ranges::for_each(dense->touches, [](int& touches) { touches += 4; });
  }
  expect_near(found.values[0], weights, 0, "weights");
  expect_near(found.values[1], bias, 0, "bias");
}

TEST_P(UpdateRuleTest, CatchesUpToTheSameBitsInOneGoOrInTwo) {
  UpdateRule once(start, options), twice(start, options);
  for (std::uint64_t step = 0; step < 40; ++step) {
    if (step == 10 || step == 25) {
      once.scale_accumulators(step, 0.5);
      once.catch_up(step);
      twice.catch_up(step);
      twice.catch_up(step);
      twice.scale_accumulators(step, 0.5);
      twice.set_learning_rate(step, twice.options().learning_rate);
      ASSERT_EQ(once.save(), twice.save());
    }
    apply(once, step);
    apply(twice, step);
  }
  EXPECT_EQ(once.save(), twice.save());
}

TEST_P(UpdateRuleTest, DoesNotChangeWhenItIsRead) {
  UpdateRule quiet(start, options), watched(start, options);
  Tables seen(layout);
  for (std::uint64_t step = 0; step < 100; ++step) {
    apply(quiet, step);
    apply(watched, step);
    watched.copy_parameters(step + 1, seen);
  }
  Tables found(layout);
  quiet.copy_parameters(100, found);
  EXPECT_EQ(found, seen);
}

TEST_P(UpdateRuleTest, GoesOnFromRowsThatItsReaderKept) {
  UpdateRule shared(start, options), own(start, options);
  RowStates states;
  for (std::uint64_t step = 0; step < 100; ++step) {
    const auto keys = touched_rows(step, width);
    std::vector<float> read(keys.size() * width), read_own(read.size());
    shared.read(step, 0, keys, read);
    own.read_own(step, 0, keys, read_own, states);
    ASSERT_EQ(read, read_own);
    const auto gradient = gradient_of(step, keys, width);
    shared.apply(step, 0, keys, gradient);
    own.apply_own(step, 0, keys, read_own, states, gradient);
  }
  Tables of_shared(layout), of_own(layout);
  shared.copy_parameters(100, of_shared);
  own.copy_parameters(100, of_own);
  EXPECT_EQ(of_shared, of_own);
  EXPECT_EQ(shared.state(100), own.state(100));
}

/// Its reader keeps rows for two steps and then gives them back.
TEST_P(UpdateRuleTest, TakesBackRowsThatItsReaderStepped) {
  UpdateRule shared(start, options), own(start, options);
  RowStates states;
  for (std::uint64_t step = 0; step < 100; step += 2) {
    const auto keys = touched_rows(step, width);
    std::vector<float> rows(keys.size() * width);
    own.read_own(step, 0, keys, rows, states);
    for (std::uint64_t s = step; s < step + 2; ++s) {
      const auto gradient = gradient_of(s, keys, width);
      shared.apply(s, 0, keys, gradient);
      own.step_own(s, 0, rows, states, gradient);
      std::vector<float> read(rows.size());
      shared.read(s + 1, 0, keys, read);
      ASSERT_EQ(read, rows);
    }
    own.return_own(step + 2, 0, keys, rows, states);
  }
  EXPECT_EQ(shared.save(), own.save());
}

TEST_P(UpdateRuleTest, TakesOverTheRowsOfAnother) {
  UpdateRule leader(start, options), follower(start, options);
  RowStates states;
  for (std::uint64_t step = 0; step < 100; ++step) {
    const auto keys = touched_rows(step, width);
    apply(leader, step);
    std::vector<float> rows(keys.size() * width), whole(width);
    leader.read_own(step + 1, 0, keys, rows, states);
    follower.assign(step + 1, 0, keys, rows, states);
    leader.read_whole_own(1, whole, states);
    const auto half = width / 2;
    const auto part = [&](std::size_t first, std::size_t last) {
      const auto cut = [&](const std::vector<float>& all) {
        return all.empty() ? all
                           : std::vector(all.begin() + static_cast<std::ptrdiff_t>(first),
                                         all.begin() + static_cast<std::ptrdiff_t>(last));
      };
      follower.assign_whole(1, first, cut(whole), {cut(states.s1), cut(states.s2)});
    };
    part(0, half);
    part(half, width);
  }
  EXPECT_EQ(follower.states(), state_layout(layout, options.kind).size() / 2);
  Tables of_leader(layout), of_follower(layout);
  leader.copy_parameters(100, of_leader);
  follower.copy_parameters(100, of_follower);
  EXPECT_EQ(of_follower, of_leader);
  EXPECT_EQ(follower.state(100), leader.state(100));
}

TEST_P(UpdateRuleTest, GoesOnFromItsStateWithTheSameBits) {
  constexpr std::uint64_t kHalf = 100;
  UpdateRule first(start, options);
  for (std::uint64_t step = 0; step < kHalf; ++step) apply(first, step);
  first.set_learning_rate(kHalf, 0.05);
  for (std::uint64_t step = kHalf; step < kHalf + 3; ++step) apply(first, step);  // some rows are behind now
  UpdateRule second(Tables(layout), first.options());
  second.load(kHalf + 3, first.save());
  EXPECT_EQ(second.save(), first.save());
  for (std::uint64_t step = kHalf + 3; step < 2 * kHalf; ++step) {
    apply(first, step);
    apply(second, step);
  }

  Tables of_first(layout), of_second(layout);
  first.copy_parameters(2 * kHalf, of_first);
  second.copy_parameters(2 * kHalf, of_second);
  EXPECT_EQ(of_first, of_second);
  EXPECT_EQ(first.state(2 * kHalf), second.state(2 * kHalf));
}

TEST_P(UpdateRuleTest, GivesTheSameBitsWhenThreadsShareTheKeys) {
  constexpr unsigned kThreads = 3;
  UpdateRule alone(start, options), shared(start, options);
  for (std::uint64_t step = 0; step < 40; ++step) {
    apply(alone, step);
    const auto keys = touched_rows(step, width);
    const auto gradient = gradient_of(step, keys, width);
    const auto bias_gradient = bias_gradient_of(step, width);
    run_threads(kThreads, [&](unsigned thread) {
      const auto cut = [&](std::size_t size, unsigned of) { return size * of / kThreads; };
      const auto first = cut(keys.size(), thread), last = cut(keys.size(), thread + 1);
      shared.apply(step, 0, std::span(keys).subspan(first, last - first),
                   std::span(gradient).subspan(first * width, (last - first) * width));
      const auto from = cut(width, thread), to = cut(width, thread + 1);
      shared.apply_whole(step, 1, from, std::span(bias_gradient).subspan(from, to - from));
    });
  }
  Tables of_alone(layout), of_shared(layout);
  alone.copy_parameters(40, of_alone);
  shared.copy_parameters(40, of_shared);
  EXPECT_EQ(of_alone, of_shared);
}

/// All untouched steps of a gap at once, against all of them one by one from the very same state.
TEST_P(UpdateRuleTest, CatchesUpInClosedFormTo1e6) {
  UpdateRule rule(start, options);
  std::vector<std::uint32_t> keys(layout[0].rows);
  for (std::uint32_t row = 0; row < keys.size(); ++row) keys[row] = row;
  rule.apply(0, 0, keys, gradient_of(0, keys, width));
  rule.apply_whole(0, 1, 0, bias_gradient_of(0, width));

  const auto state = rule.state(1);
  Tables before(layout);
  rule.copy_parameters(1, before);
  DenseRule dense(before.values[0], options);
  if (!state.values.empty()) dense.s1.assign(state.values[0].begin(), state.values[0].end());
  if (options.kind == RuleKind::kAdam) dense.s2.assign(state.values[2].begin(), state.values[2].end());
  const auto from = dense;

  std::uint64_t gap = 0;
  for (const std::uint64_t next : {1U, 2U, 7U, 100U, 500U}) {
    for (; gap < next; ++gap) {
      for (std::size_t i = 0; i < dense.w.size(); ++i) dense.step(i, 1 + gap, false, 0);
    }
    Tables found(layout);
    rule.copy_parameters(1 + gap, found);
    for (std::size_t i = 0; i < dense.w.size(); ++i) {
      double tolerance = 1e-6 * std::abs(dense.w[i]) + std::numeric_limits<float>::min();
      // With a velocity or l1 the result is a difference of terms as large as what there was.
      const bool differs = options.l1 > 0 || options.kind == RuleKind::kMomentum || options.kind == RuleKind::kNesterov;
      if (differs) tolerance = 1e-6 * dense.scale[i];
      // AdaGrad's own step size of a coordinate is in single precision: 1.5e-7 of the exponent n a l2.
      if (options.kind == RuleKind::kAdagrad) {
        const double a = options.learning_rate / std::sqrt(from.s1[i] + options.epsilon);
        tolerance += 1.5e-7 * static_cast<double>(gap) * a * (options.l2 * std::abs(dense.w[i]) + options.l1);
      }
      ASSERT_NEAR(found.values[0][i], dense.w[i], tolerance) << "gap " << gap << ", element " << i;
    }
  }
}

TEST_P(UpdateRuleTest, CanBeBehindByAllStepsOfTheLongestRun) {
  constexpr std::uint64_t kLast = (std::uint64_t{1} << 31) - 1;
  UpdateRule rule(start, options);
  const std::vector<std::uint32_t> keys = {0, 4};
  std::vector<float> rows(keys.size() * width);
  apply(rule, 0);
  rule.read(kLast, 0, keys, rows);
  const bool decays = options.kind != RuleKind::kAdam && (options.l1 > 0 || options.l2 > 0);
  if (decays) {
    EXPECT_THAT(rows, testing::Each(0));
  } else {
    EXPECT_TRUE(std::ranges::all_of(rows, [](float x) { return std::isfinite(x); }));
    EXPECT_THAT(std::span(rows).first(width), testing::ElementsAreArray(std::span(start.values[0]).first(width)));
  }
  rule.apply(kLast, 0, keys, rows);
  try {
    rule.read(kLast + 1, 0, keys, rows);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kTooLarge);
  }
}

INSTANTIATE_TEST_SUITE_P(All, UpdateRuleTest, testing::ValuesIn(all_cases()), name_of);

Tables small_model() { return Tables(layout_of(2)); }

ErrorKind refusal_of(const UpdateRuleOptions& options) {
  try {
    const UpdateRule rule(small_model(), options);
  } catch (const Error& error) {
    EXPECT_NE(error.remedy(), "");
    return error.kind();
  }
  ADD_FAILURE() << "accepted";
  return ErrorKind::kInternal;
}

TEST(UpdateRuleOptionsTest, AreRefusedOutOfRange) {
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const double bad : {-0.1, kNaN, kInfinity, 1e16}) {
    EXPECT_EQ(refusal_of({.learning_rate = bad}), ErrorKind::kUsage) << bad;
    EXPECT_EQ(refusal_of({.l1 = bad}), ErrorKind::kUsage) << bad;
    EXPECT_EQ(refusal_of({.l2 = bad}), ErrorKind::kUsage) << bad;
    EXPECT_EQ(refusal_of({.epsilon = bad}), ErrorKind::kUsage) << bad;
    EXPECT_EQ(refusal_of({.initial_accumulator = bad}), ErrorKind::kUsage) << bad;
  }
  for (const double bad : {-0.1, 1.0, kNaN}) {
    EXPECT_EQ(refusal_of({.momentum = bad}), ErrorKind::kUsage) << bad;
    EXPECT_EQ(refusal_of({.beta1 = bad}), ErrorKind::kUsage) << bad;
    EXPECT_EQ(refusal_of({.beta2 = bad}), ErrorKind::kUsage) << bad;
  }
  EXPECT_EQ(refusal_of({.l1 = 1e-31}), ErrorKind::kUsage);
  EXPECT_EQ(refusal_of({.epsilon = 0}), ErrorKind::kUsage);
}

TEST(UpdateRuleOptionsTest, AreRefusedWhereThereIsNoDefinition) {
  EXPECT_EQ(refusal_of({.kind = RuleKind::kMomentum, .l1 = 1e-5}), ErrorKind::kUnsupported);
  EXPECT_EQ(refusal_of({.kind = RuleKind::kNesterov, .l1 = 1e-5}), ErrorKind::kUnsupported);
  EXPECT_EQ(refusal_of({.kind = RuleKind::kSgd, .learning_rate = 10, .l2 = 0.1}), ErrorKind::kDiverged);
}

TEST(UpdateRuleTest, KeepsItsRateWhenAnotherIsRefused) {
  UpdateRule rule(small_model(), {.kind = RuleKind::kSgd, .learning_rate = 0.5, .l2 = 0.1});
  EXPECT_THROW(rule.set_learning_rate(0, 10), Error);
  EXPECT_EQ(rule.options().learning_rate, 0.5);
  EXPECT_THROW(rule.set_learning_rate(0, -1), Error);
  EXPECT_EQ(rule.options().learning_rate, 0.5);
}

TEST(UpdateRuleTest, RefusesTheStateOfAnotherModelOrRule) {
  UpdateRule adagrad(small_model(), {.kind = RuleKind::kAdagrad});
  UpdateRule adam(small_model(), {.kind = RuleKind::kAdam});
  UpdateRule wider(Tables(layout_of(3)), {.kind = RuleKind::kAdagrad});
  for (auto* other : {&adam, &wider}) {
    try {
      adagrad.load(0, other->save());
      FAIL() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadData);
    }
  }
}

TEST(UpdateRuleTest, CatchesUpOnSeveralThreads) {
  constexpr std::uint32_t kManyRows = 200'000;  // of which a thread takes a part
  const Layout layout = {{.name = "weights", .rows = kManyRows, .width = 2, .regularised = true, .sparse = true}};
  std::vector<std::uint32_t> keys;
  for (std::uint32_t key = 0; key < kManyRows; key += 1 + key % 7) keys.push_back(key);
  std::vector<float> gradient(keys.size() * layout[0].width);
  for (std::size_t i = 0; i < gradient.size(); ++i) gradient[i] = static_cast<float>(i % 11) - 5;
  const UpdateRuleOptions options{.kind = RuleKind::kAdagrad, .learning_rate = 0.5, .l1 = 1e-4, .l2 = 1e-3};
  UpdateRule one(Tables(layout), options), several(Tables(layout), options);
  for (std::uint64_t step = 0; step < 9; step += 4) {
    one.apply(step, 0, keys, gradient);
    several.apply(step, 0, keys, gradient);
    one.catch_up(step + 2);
    several.catch_up(step + 2, 4);
    one.scale_accumulators(step + 4, 0.5);
    several.scale_accumulators(step + 4, 0.5, 4);
    EXPECT_EQ(one.save(), several.save());
  }
}

TEST(UpdateRuleTest, RefusesTheStateOfALaterStep) {
  UpdateRule rule(small_model(), {.kind = RuleKind::kAdagrad, .l2 = 0.1});
  rule.catch_up(7);
  UpdateRule other(small_model(), {.kind = RuleKind::kAdagrad, .l2 = 0.1});
  EXPECT_THROW(other.load(6, rule.save()), Error);
  other.load(7, rule.save());
  EXPECT_EQ(other.save(), rule.save());
}

TEST(UpdateRuleTest, StaysFiniteUnderTheStrongestPenalties) {
  for (const auto kind : {RuleKind::kSgd, RuleKind::kAdagrad, RuleKind::kAdam}) {
    for (const auto& [l1, l2] : {std::pair{1e15, 0.0}, {0.0, 1e15}, {1e15, 1e15}}) {
      UpdateRule rule(initial_parameters(layout_of(2)), {.kind = kind,
                                                         .learning_rate = kind == RuleKind::kSgd ? 1e-16 : 100,
                                                         .l1 = l1,
                                                         .l2 = l2,
                                                         .epsilon = std::numeric_limits<float>::min()});
      const std::vector<std::uint32_t> keys = {1, 2};
      const std::vector<float> gradient = {0.5F, 0, 1e-30F, -2};
      std::vector<float> rows(4);
      for (std::uint64_t step = 0; step < 20; step += 5) {
        rule.apply(step, 0, keys, gradient);
        rule.read(step + 3, 0, keys, rows);
        EXPECT_TRUE(std::ranges::all_of(rows, [](float x) { return std::isfinite(x); }))
            << static_cast<int>(kind) << " " << l1 << " " << l2 << " " << testing::PrintToString(rows);
      }
    }
  }
}

TEST(UpdateRuleTest, HandsOnNaNForTheExchangeToNotice) {
  for (const auto kind : {RuleKind::kSgd, RuleKind::kAdagrad, RuleKind::kAdam}) {
    UpdateRule rule(small_model(), {.kind = kind, .l1 = 0.1, .l2 = 0.1});
    const std::vector<std::uint32_t> keys = {3};
    rule.apply(0, 0, keys, std::vector<float>(2, std::numeric_limits<float>::quiet_NaN()));
    std::vector<float> row(2);
    rule.read(9, 0, keys, row);
    EXPECT_TRUE(std::isnan(row[0]) && std::isnan(row[1])) << static_cast<int>(kind);
  }
}

TEST(UpdateRuleTest, CopiesTheSameOnAnyNumberOfThreads) {
  constexpr std::size_t kMany = 150'001, kWidth = 2;
  Tables many({{.name = "weights", .rows = kMany, .width = kWidth, .regularised = true, .sparse = true}});
  for (std::size_t i = 0; i < many.values[0].size(); ++i) many.values[0][i] = static_cast<float>(i % 7) - 3;
  UpdateRule rule(many, {.kind = RuleKind::kAdagrad, .l2 = 0.01});
  std::vector<std::uint32_t> keys;
  for (std::uint32_t key = 0; key < kMany; key += 3) keys.push_back(key);
  rule.apply(0, 0, keys, std::vector(keys.size() * kWidth, 0.5F));

  keys.resize(kMany);
  std::iota(keys.begin(), keys.end(), 0U);
  std::vector<float> expected(kMany * kWidth);
  rule.read(5, 0, keys, expected);
  for (const unsigned threads : {1U, 2U, 5U}) {
    Tables found(many.layout);
    rule.copy_parameters(5, found, threads);
    EXPECT_TRUE(found.values[0] == expected) << threads << " threads";
  }
}

}  // namespace
}  // namespace virga
