#include "virga/cost/summary.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "virga/cost/wall_account.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

constexpr std::uint64_t kMegabyte = 1'000'000;

InvocationRecord worker(WorkerId id, double start, double seconds, const std::string& end = "done") {
  return {.task = "worker",
          .worker = id,
          .generation = 1,
          .end = end,
          .start_seconds = start,
          .seconds = seconds,
          .memory_bytes = 1024 * kMegabyte};
}

double at(const GroupSeconds& groups, TimeGroup group) { return groups[static_cast<std::size_t>(group)]; }

TEST(TimeGroupTest, EveryPhaseBelongsToOneGroup) {
  InvocationRecord record;
  for (std::size_t i = 0; i < kWorkPhases; ++i) record.phases.add(static_cast<WorkPhase>(i), 1s * (1 << i));
  record.init = 500ms;
  const auto groups = group_seconds(record);
  EXPECT_EQ(at(groups, TimeGroup::kStart), 1.5);
  EXPECT_EQ(at(groups, TimeGroup::kInput), 2);
  EXPECT_EQ(at(groups, TimeGroup::kCompute), 8 + 512);
  EXPECT_EQ(at(groups, TimeGroup::kCommunicate), 4 + 16 + 32 + 128 + 256);
  EXPECT_EQ(at(groups, TimeGroup::kWait), 64);
  EXPECT_EQ(at(groups, TimeGroup::kKeep), 1024);
}

TEST(SummaryTest, AddsUpByWorkerAndTask) {
  auto first = worker(0, 0, 2);
  first.rounds = 10;
  first.bytes_put = 100;
  first.cpu_seconds = 0.5;
  first.phases.add(WorkPhase::kCompute, 1s);
  auto evaluation = worker(0, 1, 1);
  evaluation.task = "evaluate";
  evaluation.end = "evaluated";
  Ledger ledger{.invocations = {first, worker(1, 0, 3, "crashed"), worker(1, 3, 1, "throttled"), evaluation},
                .services = {{.service = "data-store", .seconds = 3600}}};
  const auto& table = builtin_price_table();
  const auto summary = summarise(ledger, table);
  EXPECT_EQ(summary.all.invocations, 3U);
  EXPECT_EQ(summary.all.without_answer, 1U);
  EXPECT_EQ(summary.all.throttled, 1U);
  EXPECT_EQ(summary.all.gb_seconds, 6);
  EXPECT_EQ(summary.all.lost_seconds, 3);
  EXPECT_EQ(summary.by_worker.at(0).rounds, 10U);
  EXPECT_EQ(summary.by_worker.at(0).gb_seconds, 2);
  EXPECT_EQ(at(summary.by_worker.at(0).groups, TimeGroup::kCompute), 1);
  EXPECT_EQ(summary.by_worker.at(1).lost_usd, summary.by_worker.at(1).usd);
  EXPECT_EQ(summary.by_task.at("evaluate").gb_seconds, 1);
  EXPECT_EQ(summary.bill.total(), summary.all.usd + Usd::of(0.085));
  EXPECT_EQ(summary.all.usd, summary.by_task.at("evaluate").usd + summary.by_task.at("worker").usd);
}

TEST(SummaryTest, IsJsonWithUnitsAndWithoutNan) {
  const auto& table = builtin_price_table();
  const auto empty = summary_json(summarise({}, table), table, UsdKind::kEstimated);
  EXPECT_EQ(empty["usd"], 0.0);
  EXPECT_EQ(empty["usd_kind"], "estimated");
  EXPECT_EQ(empty["prices"]["date"], "2025-08-01");
  EXPECT_TRUE(empty["memory"].is_null());
  const auto one = summary_json(summarise({.invocations = {worker(7, 0, 1000)}}, table), table, UsdKind::kBilled);
  EXPECT_DOUBLE_EQ(one["usd"], 0.0166667 + 0.0000002);
  EXPECT_EQ(one["usd_kind"], "billed");
  EXPECT_EQ(one["workers"][0]["worker"], 7);
  EXPECT_EQ(one["time_seconds"]["wait"], 0.0);
  EXPECT_EQ(one["bill"][0]["item"], "GB-seconds");
  EXPECT_THAT(one.dump(), Not(HasSubstr("nan")));
}

TEST(SummaryTest, SaysWhatItWouldCostAndWhatWasLost) {
  const auto& table = builtin_price_table();
  const auto text =
      summary_text(summarise({.invocations = {worker(0, 0, 1000, "crashed")}}, table), table, UsdKind::kEstimated);
  EXPECT_THAT(text, HasSubstr("Cost: would cost $0.0167 on AWS Lambda (prices of 2025-08-01)\n"));
  EXPECT_THAT(text, HasSubstr("1 of 1 invocations gave no answer, $0.0167 of the above"));
}

TEST(MemoryAdviceTest, GivesTheLimitThatFitsWithHeadRoomAndWhatItCostsInSpeed) {
  auto record = worker(0, 0, 10);
  record.memory_bytes = 1769 * kMegabyte;
  record.peak_memory_bytes = 200 * kMegabyte + 1;
  record.cpu_seconds = 5;
  const auto& table = builtin_price_table();
  const auto advice = summarise({.invocations = {record}}, table).memory.value();
  EXPECT_EQ(advice.fitting_bytes, 221 * kMegabyte);
  EXPECT_EQ(advice.vcpus, 1.0);
  EXPECT_DOUBLE_EQ(advice.fitting_vcpus, 221.0 / 1769);
  EXPECT_EQ(advice.fitting_usd, invocation_price(table.functions, 221 * kMegabyte, 10s));
  // 5 s of a processor at 0.125 of one are 40 s.
  EXPECT_NEAR(advice.least_slowdown, 5 / (221.0 / 1769) / 10, 1e-4);
  EXPECT_GT(advice.least_usd, advice.fitting_usd);
  const auto text = memory_advice_text(advice, table);
  EXPECT_THAT(text, HasSubstr("at most 200 MB of 1769 MB were used. A limit of 221 MB"));
  EXPECT_THAT(text, HasSubstr("0.12 vCPU instead of 1.00, so at least 4.0 times as long"));
}

TEST(MemoryAdviceTest, IsNotGivenWhereItWouldNotFitOrNothingIsKnown) {
  const auto& table = builtin_price_table();
  const auto advice = [&](std::uint64_t limit, std::uint64_t peak, const std::string& end) {
    auto record = worker(0, 0, 10, end);
    record.memory_bytes = limit * kMegabyte;
    record.peak_memory_bytes = peak * kMegabyte;
    return summarise({.invocations = {record}}, table).memory;
  };
  EXPECT_TRUE(advice(708, 200, "done"));
  EXPECT_FALSE(advice(708, 0, "crashed"));
  EXPECT_FALSE(advice(708, 200, "out_of_memory"));
  EXPECT_FALSE(advice(708, 650, "done"));
  EXPECT_FALSE(advice(128, 10, "done"));  // the platform has nothing smaller
}

/// An invocation of which all is known: 0.1 s of the platform, 0.2 s of init, and phases that fill `phases` seconds.
InvocationRecord told(double start, double seconds, double phases) {
  auto record = worker(0, start, seconds);
  record.init = 200ms;
  record.duration = std::chrono::microseconds(std::llround((seconds - 0.3) * 1e6));
  record.phases.add(WorkPhase::kCompute, std::chrono::nanoseconds(std::llround(phases * 1e9)));
  return record;
}

TEST(WallAccountTest, OneInvocationIsItsInitItsPhasesAndThePlatform) {
  const std::vector<InvocationRecord> records = {told(1, 8, 7.5)};
  const std::vector<DriverStretch> driver = {{"services", 0, 0.75}, {"model", 8.5, 1}};
  const auto account = account_wall_time(records, driver, 10);
  EXPECT_NEAR(at(account.groups, TimeGroup::kStart), 0.2, 1e-9);
  EXPECT_NEAR(at(account.groups, TimeGroup::kCompute), 7.5, 1e-9);
  EXPECT_NEAR(account.platform_seconds, 0.1, 1e-9);
  EXPECT_NEAR(account.driver_seconds, 0.75 + 0.5, 1e-9);             // what overlaps the function counts once
  EXPECT_NEAR(account.unaccounted_seconds, 0.25 + 0.5 + 0.2, 1e-9);  // before, after, and inside the function
  EXPECT_NEAR(account.accounted_share(), 0.905, 1e-9);
}

TEST(WallAccountTest, FollowsThePathThroughGenerationsAndOverlaps) {
  // Two workers, a second generation of one, and an evaluation that outlasts it.
  const std::vector<InvocationRecord> records = {told(0, 4, 3.7), told(0, 3, 2.7), told(4, 4, 3.7), told(7, 3, 2.7)};
  const auto account = account_wall_time(records, {}, 10);
  // The evaluation from 7 to 10, three quarters of the second generation, the worker of the first that took longer.
  EXPECT_NEAR(at(account.groups, TimeGroup::kCompute), 2.7 + 3.7 * 3 / 4 + 3.7, 1e-9);
  EXPECT_NEAR(account.unaccounted_seconds, 0, 1e-9);
  EXPECT_NEAR(account.accounted_share(), 1, 1e-9);
}

TEST(WallAccountTest, CallsWhatDiedLostAndWhatNobodyClaimsUnaccounted) {
  const std::vector<InvocationRecord> records = {worker(0, 0, 2, "crashed"), worker(0, 2, 3)};
  const auto account = account_wall_time(records, {}, 6);
  EXPECT_EQ(account.lost_seconds, 2);
  EXPECT_EQ(account.unaccounted_seconds, 4);
  EXPECT_THAT(wall_account_text(account), HasSubstr("Time: 6.00 s: lost 33 %; 33.3 % of it accounted for"));
}

TEST(WallAccountTest, PhasesThatClaimMoreThanTheDriverSawCountForWhatItSaw) {
  const std::vector<InvocationRecord> records = {told(0, 4, 40)};
  const auto account = account_wall_time(records, {}, 4);
  EXPECT_NEAR(
      at(account.groups, TimeGroup::kCompute) + at(account.groups, TimeGroup::kStart) + account.platform_seconds, 4,
      1e-9);
  EXPECT_NEAR(account.unaccounted_seconds, 0, 1e-9);
}

TEST(WallAccountTest, AddsUpToTheWallTimeWhateverTheRecords) {
  for (unsigned seed = 1; seed < 200; ++seed) {
    std::vector<InvocationRecord> records;
    auto state = seed * 2654435761U;
    const auto draw = [&](unsigned bound) { return (state = state * 1664525U + 1013904223U) / 65536U % bound; };
    for (unsigned i = 0; i < draw(12); ++i) {
      auto record = told(0.1 * draw(90), 0.1 * draw(50), 0.1 * draw(60));
      if (draw(4) == 0) record.end = "timeout";
      if (draw(4) == 0) record.duration = {};
      records.push_back(record);
    }
    const std::vector<DriverStretch> driver = {{"a", 0.1 * draw(90), 1}, {"b", 0.1 * draw(90), 2}};
    const auto account = account_wall_time(records, driver, 10);
    double sum = account.platform_seconds + account.lost_seconds + account.driver_seconds + account.unaccounted_seconds;
    for (const auto group : account.groups) sum += group;
    EXPECT_NEAR(sum, 10, 1e-6) << seed;
    EXPECT_GE(account.unaccounted_seconds, -1e-9);
  }
}

TEST(WallAccountTest, ARunThatTookNoTimeIsAccountedFor) {
  EXPECT_EQ(account_wall_time({}, {}, 0).accounted_share(), 1);
  EXPECT_EQ(wall_account_json(account_wall_time({}, {}, 0))["accounted_share"], 1.0);
  EXPECT_EQ(account_wall_time({}, {}, 5).accounted_share(), 0);
}

}  // namespace
}  // namespace virga
