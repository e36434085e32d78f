#include "virga/cli/train_display.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace virga {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;
using namespace std::chrono_literals;

class TrainDisplayTest : public testing::Test {
 protected:
  [[nodiscard]] ProgressDisplay::Options options(ProgressMode mode) {
    return {.mode = mode,
            .width = 60,
            .write = [this](std::string_view text) { written_.emplace_back(text); },
            .now = [this] { return now_ += 10s; }};
  }
  /// A start, a first step of training, an evaluation, a worker that died, another step.
  static void show_a_run(ProgressDisplay& progress) {
    TrainDisplay display(progress);
    TrainingPlan plan;
    plan.model.kind = ModelKind::kLogistic;
    plan.epochs = 20;
    plan.workers = 4;
    plan.constant_loss = 0.65;
    display.started({"id", "local", "avx2", plan, Manifest(), 10, true});
    display.functions_changed({.alive = 4, .workers = 4, .invocations = 4});  // before training: nothing to show
    display.progressed({.epoch = 8, .examples = 1000, .total = 20'000, .train_loss = 0.5});
    EpochReport report{.epoch = 9, .train_loss = 0.45};
    report.validation_loss = 0.4;
    display.evaluated(report);
    display.functions_changed({.alive = 3, .workers = 4, .invocations = 6, .restarts = 1, .usd = 0.00031});
  }
  std::vector<std::string> written_;
  std::chrono::steady_clock::time_point now_{};
};

TEST_F(TrainDisplayTest, BlockHasLossesFunctionsAndDollarsInSixtyColumns) {
  {
    ProgressDisplay progress(options(ProgressMode::kBar));
    show_a_run(progress);
  }
  ASSERT_THAT(written_, SizeIs(6));  // start, block, its removal, evaluation, block, its removal
  EXPECT_THAT(written_[4], AllOf(HasSubstr("\n  epoch 9/20  loss 0.5000  validation 0.4000  base 0.6500\x1b[K"),
                                 HasSubstr("\n  3/4 functions alive  1 restart  would cost $0.000310\x1b[K")));
  EXPECT_EQ(written_[5], "\r\x1b[2A\x1b[J");
}

TEST_F(TrainDisplayTest, PlainLinesAreWithoutBlock) {
  ProgressDisplay progress(options(ProgressMode::kPlain));
  show_a_run(progress);
  ASSERT_THAT(written_, SizeIs(3));
  EXPECT_THAT(written_[2], AllOf(HasSubstr("train loss 0.5000  3/4 functions alive, 1 restart, $0.000310\n"),
                                 Not(HasSubstr("\x1b"))));
}

TEST_F(TrainDisplayTest, EventsHaveTheSameFacts) {
  ProgressDisplay progress(options(ProgressMode::kJsonl));
  show_a_run(progress);
  const auto event = nlohmann::json::parse(written_.back());
  EXPECT_EQ(event["event"], "progress");
  EXPECT_EQ(event["epoch"], 9);
  EXPECT_EQ(event["validation_loss"], 0.4);
  EXPECT_EQ(event["functions_alive"], 3);
  EXPECT_EQ(event["restarts"], 1);
  EXPECT_EQ(event["usd"], 0.00031);
}

}  // namespace
}  // namespace virga
