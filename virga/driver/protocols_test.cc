// Runs whose workers are rounds apart: how they end, stop and go on.
#include <chrono>
#include <stop_token>

#include <gmock/gmock.h>

#include "virga/driver/functions_run_testing.h"

namespace virga {
namespace {

using namespace std::chrono_literals;

class ProtocolsTest : public FunctionsFixture, public testing::WithParamInterface<AlgorithmPlan> {
 protected:
  [[nodiscard]] TrainingRun run_apart(std::uint32_t epochs) const {
    auto run = run_of(epochs, 3);
    run.plan.algorithm = GetParam();
    return run;
  }
};

TEST_P(ProtocolsTest, TrainThroughGenerationsAndSayHowStaleStepsWere) {
  place_.lifetime = 300ms;
  Outcome outcome;
  with_enough_epochs(20, [&](std::uint32_t epochs) {
    const auto run = run_apart(epochs);
    outcome = on_processes(run);
    expect_as_good(outcome, run);
    EXPECT_EQ(outcome.history.size(), epochs);
    return report_.views > 1;
  });
  EXPECT_GT(report_.views, 1U);
  ASSERT_EQ(report_.staleness.size(), 3U);
  const bool asp = GetParam().protocol == ProtocolKind::kAsp;
  std::uint64_t written = 0;
  for (const auto& report : outcome.history) {
    EXPECT_LE(report.updates.lost, report.updates.written);
    written += report.updates.written;
  }
  EXPECT_EQ(report_.updates.written, written);
  EXPECT_EQ(written > 0, asp);
  for (const auto& [worker, counts] : report_.staleness) {
    EXPECT_GT(counts.steps, 0U);
    if (!asp) {
      EXPECT_LE(counts.most, GetParam().staleness);
      EXPECT_EQ(counts.overwritten, 0U);
    }
  }
  EXPECT_THAT(staleness_text(report_), testing::HasSubstr(asp ? "updates lost" : "rounds of others"));
}

TEST_P(ProtocolsTest, TrainThroughFunctionsOfAFewRounds) {
  const auto run = run_apart(12);
  place_.rounds_per_invocation = 40;
  const auto outcome = on_processes(run);
  expect_as_good(outcome, run);
  EXPECT_GE(report_.views, 4U);
  EXPECT_LE(report_.views, outcome.result.last.round / 40 + 1);
}

TEST_P(ProtocolsTest, GoOnAfterTheyWereStopped) {
  TrainingRun run;
  Outcome part;
  with_enough_epochs(40, [&](std::uint32_t epochs) {
    run = run_apart(epochs);
    std::stop_source stop;
    const auto stop_after_3 = [&](std::size_t evaluations) {
      if (evaluations == 3) stop.request_stop();
    };
    std::filesystem::remove_all(place_.folder);
    part = on_processes(run, stop_after_3, stop.get_token());
    return part.result.last.epoch < epochs;
  });
  EXPECT_EQ(part.result.reason, EndReason::kStopped);
  EXPECT_LT(part.result.last.epoch, run.plan.epochs);
  ASSERT_TRUE(std::filesystem::exists(place_.folder));
  place_.resume = true;
  const auto rest = on_processes(run);
  EXPECT_EQ(rest.result.reason, EndReason::kEpochs);
  expect_as_good(rest, run);
}

TEST_P(ProtocolsTest, EndWhenTheTargetIsMet) {
  auto run = run_apart(200);
  run.target_loss = *on_threads(run_of(3, 3)).result.best.validation_loss;
  const auto outcome = on_processes(run);
  EXPECT_EQ(outcome.result.reason, EndReason::kTargetLoss);
  EXPECT_LE(*outcome.result.best.validation_loss, *run.target_loss);
}

INSTANTIATE_TEST_SUITE_P(All, ProtocolsTest,
                         testing::Values(AlgorithmPlan{.protocol = ProtocolKind::kSsp, .staleness = 2},
                                         AlgorithmPlan{.every = 9, .protocol = ProtocolKind::kAsp}),
                         [](const auto& test) { return std::string(to_string(test.param.protocol)); });

}  // namespace
}  // namespace virga
