#include "virga/driver/comparison.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"

namespace virga {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

ComparedRun run_of(const std::vector<double>& losses, double seconds_each, double usd_each, std::uint64_t seed = 1) {
  ComparedRun run{.run = "r" + std::to_string(seed), .seed = seed, .ended_by = "epochs"};
  for (std::uint32_t epoch = 1; const auto loss : losses) {
    run.points.push_back({.seconds = seconds_each * epoch,
                          .epoch = epoch,
                          .round = std::uint64_t{10} * epoch,
                          .loss = loss,
                          .usd = Usd::of(usd_each * epoch)});
    ++epoch;
  }
  run.wall_seconds = seconds_each * static_cast<double>(losses.size()) + 0.5;
  run.usd = Usd::of(usd_each * static_cast<double>(losses.size()));
  run.bytes = 1000;
  return run;
}

/// 8 s of computing and input and 2 s of exchanging by four functions of half a processor, 1 s of start each.
ComparedRun functions_run(std::vector<double> losses, double seconds_each, double usd_each, std::uint64_t seed = 1) {
  auto run = run_of(std::move(losses), seconds_each, usd_each, seed);
  run.groups = {4, 6, 10, 4, 100, 0};
  run.cpu_seconds = 12;  // of 24 s awake: half a processor
  run.lifetimes = 4;
  return run;
}

Comparison example() {
  Comparison comparison{.data = "clicks", .cores = 2, .wanted_loss = {}, .presets = {}};
  comparison.presets.push_back({.name = "single", .workers = 2, .runs = {run_of({0.5, 0.4, 0.3}, 1, 0.001)}});
  comparison.presets.push_back({.name = "functions-ps",
                                .functions = true,
                                .workers = 4,
                                .memory_bytes = 884'500'000,
                                .vcpus = 0.5,
                                .runs = {functions_run({0.6, 0.35, 0.31}, 5, 0.004)}});
  return comparison;
}

TEST(ComparisonTest, ComparesAtTheLossThatAllHaveReached) {
  auto comparison = example();
  EXPECT_EQ(common_loss(comparison), 0.31);
  EXPECT_EQ(first_at(comparison.presets[0].runs[0], 0.31)->epoch, 3U);
  EXPECT_EQ(first_at(comparison.presets[0].runs[0], 0.45)->epoch, 2U);
  EXPECT_EQ(first_at(comparison.presets[0].runs[0], 0.1), nullptr);
  const auto functions = figures_of(comparison.presets[1], 0.31);
  EXPECT_EQ(functions.seconds->median, 15);
  EXPECT_DOUBLE_EQ(functions.usd->median, 0.012);
  EXPECT_EQ(functions.rounds->median, 30);
  comparison.wanted_loss = 0.3;
  EXPECT_EQ(common_loss(comparison), 0.3);
  EXPECT_EQ(figures_of(comparison.presets[1], 0.3).reached, 0U);
  EXPECT_EQ(figures_of(comparison.presets[1], 0.3).seconds, std::nullopt);
  comparison.wanted_loss.reset();
  comparison.presets[1].runs[0].points.clear();
  EXPECT_EQ(common_loss(comparison), std::nullopt);
  comparison.presets[1].runs[0].error = "out of memory";
  EXPECT_EQ(common_loss(comparison), 0.3);
}

TEST(ComparisonTest, TakesMediansOverSeeds) {
  auto comparison = example();
  auto& runs = comparison.presets[0].runs;
  runs = {run_of({0.3}, 1, 1, 1), run_of({0.3}, 9, 2, 2), run_of({0.3}, 2, 3, 3)};
  auto figures = figures_of(comparison.presets[0], 0.3);
  EXPECT_EQ(figures.seconds->median, 2);
  EXPECT_EQ(figures.seconds->least, 1);
  EXPECT_EQ(figures.seconds->most, 9);
  runs.push_back(run_of({0.3}, 4, 4, 4));
  EXPECT_EQ(figures_of(comparison.presets[0], 0.3).seconds->median, 3);
  runs[1].error = "it died";
  figures = figures_of(comparison.presets[0], 0.3);
  EXPECT_EQ(figures.runs, 3U);
  EXPECT_EQ(figures.seconds->most, 4);
  EXPECT_EQ(spread_of({}), std::nullopt);
}

// Computing 8 s of a processor; each function, with half of one, takes 1 s to start and 2 * 2 / 4 = 1 s to exchange.
TEST(ComparisonTest, SaysHowManyFunctionsItTakesAtLeast) {
  const auto preset = example().presets[1];
  const auto ten = functions_to_beat(preset, 10);
  ASSERT_TRUE(ten);
  EXPECT_DOUBLE_EQ(ten->exchange_seconds, 2);
  EXPECT_EQ(ten->functions, 2U);  // 8 s / (2 * 0.5) + 2 s
  EXPECT_EQ(functions_to_beat(preset, 4)->functions, 8U);
  EXPECT_EQ(functions_to_beat(preset, 2.5)->functions, 32U);
  EXPECT_EQ(functions_to_beat(preset, 2)->functions, std::nullopt);
  EXPECT_EQ(functions_to_beat(preset, 0.1)->functions, std::nullopt);
  auto silent = preset;
  silent.runs[0].cpu_seconds = 0;
  EXPECT_FALSE(functions_to_beat(silent, 10));
}

TEST(ComparisonTest, SaysPlainlyWhenFunctionsLose) {
  auto comparison = example();
  const auto lines = verdicts(comparison);
  EXPECT_THAT(lines, ElementsAre("functions-ps is 5 times as slow as single and 4 times dearer ($0.0120 against "
                                 "$0.00300).",
                                 "functions-ps: functions lose to one machine here. If they never waited, it would "
                                 "take at least 11 of them (0.50 vCPU each) to be as fast."));
  comparison.presets[0].runs[0].wall_seconds = 1;
  EXPECT_THAT(verdicts(comparison).back(), HasSubstr("No number of them would win"));
  comparison.presets[0].runs[0].wall_seconds = 100;
  EXPECT_THAT(verdicts(comparison), Not(testing::Contains(HasSubstr("lose"))));
  comparison.presets[1].oversubscribed = true;
  EXPECT_THAT(verdicts(comparison), testing::Contains(HasSubstr("functions-ps is oversubscribed")));
  comparison.wanted_loss = 0.3;
  EXPECT_THAT(verdicts(comparison), testing::Contains("functions-ps: 1 of 1 runs did not reach the loss."));
}

TEST(ComparisonTest, ARentedMachineIsPaidForByItsCores) {
  const auto& table = builtin_price_table();
  EXPECT_EQ(machine_usd(table, 2, 3600), Usd::of(0.085));
  EXPECT_EQ(machine_usd(table, 2, 1), machine_usd(table, 2, 60));  // at least a minute
  EXPECT_EQ(machine_usd(table, 8, 7200), Usd::of(0.68));
}

TEST(ComparisonTest, IsWrittenAsJson) {
  auto comparison = example();
  comparison.presets[1].runs.push_back({.seed = 2, .error = "it died"});
  const auto document = comparison_json(comparison, builtin_price_table());
  EXPECT_EQ(document["loss"], 0.31);
  EXPECT_EQ(document["loss_is"], "reached by all");
  EXPECT_EQ(document["usd_kind"], "estimated");
  const auto& functions = document["presets"][1];
  EXPECT_EQ(functions["preset"], "functions-ps");
  EXPECT_EQ(functions["seconds_ratio"], 5);
  EXPECT_EQ(functions["seconds_to_loss"]["median"], 15);
  EXPECT_EQ(functions["runs"][0]["curve"].size(), 3U);
  EXPECT_EQ(functions["runs"][0]["worker_seconds"]["wait"], 100);
  EXPECT_EQ(functions["runs"][1]["error"], "it died");
  EXPECT_EQ(functions["runs"][1]["best_loss"], nullptr);
  EXPECT_EQ(document["presets"][0]["memory_bytes"], nullptr);
}

TEST(ComparisonTest, IsAPageThatStandsAlone) {
  auto comparison = example();
  comparison.data = "<script>alert(1)</script>";
  comparison.presets[0].runs.push_back({.seed = 2, .error = "<b>died</b>"});
  const auto page = comparison_html(comparison, builtin_price_table());
  EXPECT_THAT(
      page, AllOf(HasSubstr("<!DOCTYPE html>"), HasSubstr("default-src &#39;none&#39;"), HasSubstr("Loss over dollars"),
                  HasSubstr("Loss for a sum"), HasSubstr("functions lose to one"), HasSubstr("Where the workers"),
                  HasSubstr("&lt;b&gt;died"), Not(HasSubstr("<script")), Not(HasSubstr("<b>")),
                  Not(HasSubstr("http://")), Not(HasSubstr("https://"))));
  Comparison empty{.data = "x", .cores = 1, .wanted_loss = {}, .presets = {}};
  EXPECT_THAT(comparison_html(empty, builtin_price_table()), HasSubstr("</html>"));
  EXPECT_THAT(verdicts(empty), IsEmpty());
}

}  // namespace
}  // namespace virga
