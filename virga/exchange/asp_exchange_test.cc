#include "virga/exchange/asp_exchange.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <set>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/base/threads.h"
#include "virga/channel/memory_channel.h"
#include "virga/channel/memory_register.h"
#include "virga/collective/contribution_testing.h"
#include "virga/exchange/bsp_exchange.h"
#include "virga/exchange/global_model.h"

namespace virga {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kAspRows = 60;
constexpr std::uint64_t kAspEpoch = 8;
constexpr Round kAspRounds = 2 * kAspEpoch;

Tables asp_parameters(const Layout& layout) {
  Tables tables(layout);
  const Random random(21, Purpose::kTest);
  std::uint64_t item = 0;
  for (auto& values : tables.values) {
    for (auto& value : values) value = static_cast<float>(random.uniform(0, item++) - 0.5);
  }
  return tables;
}

/// A register that lets others come between.
class MeddlingRegister final : public Register {
 public:
  std::optional<RegisterValue> read(std::string_view name, const Wait& wait) override {
    auto value = inner.read(name, wait);
    if (after_read) std::exchange(after_read, {})();  // where ranks are threads there is none
    return value;
  }
  std::uint64_t write(std::string_view name, ByteView bytes, const Wait& wait) override {
    return inner.write(name, bytes, wait);
  }
  std::optional<std::uint64_t> compare_exchange(std::string_view name, std::uint64_t expected, ByteView bytes,
                                                const Wait& wait) override {
    return inner.compare_exchange(name, expected, bytes, wait);
  }
  RegisterValue wait_newer(std::string_view name, std::uint64_t version, const Wait& wait) override {
    return inner.wait_newer(name, version, wait);
  }
  void remove(std::string_view name, const Wait& wait) override { inner.remove(name, wait); }
  std::size_t max_value_bytes() const noexcept override { return most; }
  const std::string& uri() const noexcept override { return inner.uri(); }

  MemoryRegister inner;
  std::function<void()> after_read;
  std::size_t most = 1U << 20;
};

class AspExchangeTest : public testing::TestWithParam<RuleKind> {
 protected:
  const Layout layout = testing_layout(kAspRows, 2);
  const UpdateRuleOptions rule{.kind = GetParam(), .learning_rate = 0.05, .l2 = 1e-2};
  const Period period{.rounds_per_epoch = kAspEpoch};

  std::unique_ptr<AspExchange> make(Channel& channel, Register& models, std::uint32_t view, std::uint32_t rank,
                                    std::uint32_t ranks, Position start = {}) const {
    return std::make_unique<AspExchange>(
        channel, models,
        ReplicaExchange::Options{.group = {.view = view, .rank = rank, .size = ranks}, .patience = 20s},
        start.round == 0 ? asp_parameters(layout) : Tables(layout), rule, period, start);
  }
  static void round(Exchange& exchange, const Layout& layout, Round round, unsigned rank) {
    const auto contribution = testing_contribution(layout, round, rank);
    (void)exchange.read(round, contribution.tables[0].keys);
    exchange.write(round, contribution);
  }
};

TEST_P(AspExchangeTest, GivesOneRankTheBitsOfBspAlsoWhenItGoesOnFromItsState) {
  MemoryChannel channel;
  MeddlingRegister models;
  BspExchange expected(channel, {.group = {.view = 9, .rank = 0, .size = 1}}, asp_parameters(layout), rule,
                       cut_tables(layout, 1));
  auto exchange = make(channel, models, 1, 0, 1);
  for (Round r = 0; r < kAspRounds; ++r) {
    if (r == kAspEpoch) {
      const auto state = exchange->save();
      exchange = make(channel, models, 2, 0, 1, exchange->position());
      exchange->load(state);
    }
    const auto contribution = testing_contribution(layout, r, 0);
    EXPECT_EQ(exchange->read(r, contribution.tables[0].keys).tables,
              expected.read(r, contribution.tables[0].keys).tables);
    exchange->write(r, contribution);
    expected.write(r, contribution);
    EXPECT_EQ(exchange->synchronised(), period.ends_after(r));
  }
  EXPECT_EQ(exchange->position(), expected.position());
  Tables found(layout), wanted(layout);
  exchange->copy_parameters(found);
  expected.copy_parameters(wanted);
  EXPECT_EQ(found, wanted);
  EXPECT_EQ(exchange->updates(), (UpdateCounts{.written = kAspEpoch, .lost = 0}));
  EXPECT_EQ(exchange->staleness(), (StalenessCounts{.steps = kAspEpoch}));
}

// Rank 0 reads before rank 1 makes two steps, and writes after them: their work is gone, and everybody knows.
TEST_P(AspExchangeTest, OverwritesWhatOthersWroteMeanwhileAndCountsIt) {
  MemoryChannel channel;
  MeddlingRegister models;
  auto first = make(channel, models, 1, 0, 2);
  auto second = make(channel, models.inner, 1, 1, 2);
  // The definition, with whole models and states of each rank's own.
  UpdateRule own(asp_parameters(layout), rule);
  Tables global = asp_parameters(layout);
  const auto step = [&](Round r, std::uint64_t at) {
    const auto sum = testing_contribution(layout, r, 0);
    for (std::size_t t = 0; t < layout.size(); ++t) {
      auto mean = sum.tables[t].values;
      for (auto& value : mean) value /= static_cast<float>(sum.weight);
      layout[t].sparse ? own.apply(at, t, sum.tables[t].keys, mean) : own.apply_whole(at, t, 0, mean);
    }
    own.copy_parameters(at + 1, global);
  };

  round(*first, layout, 0, 0);
  step(0, 0);
  models.after_read = [&] {
    (void)second->read(0, {});
    second->write(0, testing_contribution(layout, 1, 0));
    (void)second->read(1, {});
    second->write(1, testing_contribution(layout, 2, 0));
  };
  round(*first, layout, 1, 0);
  step(1, 1);

  EXPECT_EQ(first->staleness(), (StalenessCounts{.steps = 2, .sum = 2, .most = 2, .overwritten = 2}));
  EXPECT_EQ(second->staleness(), (StalenessCounts{.steps = 2}));
  Tables found(layout);
  const auto value = models.inner.read(AspExchange::register_name(1), {Deadline::in(1s)});
  EXPECT_EQ(decode_global_model(value->bytes.view(), "", found), 2U) << "of four steps two have led to the model";
  EXPECT_EQ(found, global);
}

TEST_P(AspExchangeTest, LosesNothingOfRanksThatTakeTurns) {
  MemoryChannel channel;
  MeddlingRegister models;
  std::vector<std::unique_ptr<AspExchange>> ranks;
  for (unsigned rank = 0; rank < 3; ++rank) ranks.push_back(make(channel, models, 1, rank, 3));
  std::uint64_t steps = 0;
  for (Round r = 0; r + 1 < kAspEpoch; ++r) {
    for (unsigned rank = 0; rank < 3; ++rank) {
      round(*ranks[rank], layout, r, rank);
      steps += testing_contribution(layout, r, rank).weight > 0 ? 1 : 0;
    }
  }
  run_threads(3, [&](unsigned rank) { round(*ranks[rank], layout, kAspEpoch - 1, rank); });
  for (unsigned rank = 0; rank < 3; ++rank) {
    EXPECT_TRUE(ranks[rank]->synchronised());
    steps += testing_contribution(layout, kAspEpoch - 1, rank).weight > 0 ? 1 : 0;
  }
  EXPECT_EQ(ranks[0]->updates().written, steps);
  EXPECT_LE(ranks[0]->updates().lost, 2U) << "of the last round, which all ran at once";
  EXPECT_EQ(ranks[0]->totals().examples, ranks[2]->totals().examples);
}

INSTANTIATE_TEST_SUITE_P(Rules, AspExchangeTest,
                         testing::Values(RuleKind::kSgd, RuleKind::kMomentum, RuleKind::kAdagrad, RuleKind::kAdam),
                         [](const auto& test) { return std::to_string(static_cast<int>(test.param)); });

TEST(AspExchange, CountsAllUpdatesOfRanksThatRunAtOnce) {
  const auto layout = testing_layout(kAspRows, 1);
  MemoryChannel channel;
  MemoryRegister models;
  constexpr unsigned kRanks = 4;
  constexpr Round kManyRounds = 50;
  std::vector<StalenessCounts> staleness(kRanks);
  UpdateCounts updates;
  std::uint64_t left = 0;
  run_threads(kRanks, [&](unsigned rank) {
    AspExchange exchange(channel, models, {.group = {.view = 1, .rank = rank, .size = kRanks}}, asp_parameters(layout),
                         {.kind = RuleKind::kSgd, .learning_rate = 0.01}, {.rounds_per_epoch = kManyRounds});
    for (Round r = 0; r < kManyRounds; ++r) {
      const auto contribution = testing_contribution(layout, r, rank);
      (void)exchange.read(r, contribution.tables[0].keys);
      exchange.write(r, contribution);
    }
    staleness[rank] = exchange.staleness();
    if (rank == 0) updates = exchange.updates();
  });
  Tables last(layout);
  const auto value = models.read("global/1", {Deadline::in(1s)});
  left = decode_global_model(value->bytes.view(), "", last);
  StalenessCounts all;
  for (const auto& one : staleness) all += one;
  EXPECT_EQ(updates.written, all.steps);
  EXPECT_EQ(value->version, all.steps + 1) << "the first model, and one of each step";
  EXPECT_EQ(updates.lost, all.steps - left);
  EXPECT_LE(updates.lost, all.overwritten);
}

TEST(AspExchange, RefusesAModelThatNoRegisterHolds) {
  const auto layout = testing_layout(kAspRows, 1);
  MemoryChannel channel;
  MeddlingRegister models;
  models.most = 100;
  try {
    const AspExchange exchange(channel, models, {.group = {.view = 1, .rank = 0, .size = 1}}, Tables(layout), {}, {});
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kTooLarge);
    EXPECT_THAT(error.remedy(), testing::HasSubstr("--channel ps"));
  }
}

TEST(AspExchange, SaysThatItIsTheFirstRankThatIsMissing) {
  const auto layout = testing_layout(kAspRows, 1);
  MemoryChannel channel;
  MemoryRegister models;
  AspExchange exchange(channel, models, {.group = {.view = 1, .rank = 1, .size = 2}, .patience = 20ms}, Tables(layout),
                       {}, {});
  EXPECT_THROW((void)exchange.read(0, {}), Error);
  EXPECT_THAT(exchange.missing(), testing::ElementsAre(0));
}

}  // namespace
}  // namespace virga
