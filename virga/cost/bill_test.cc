#include "virga/cost/bill.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "virga/base/error.h"
#include "virga/cost/estimate.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr std::uint64_t kGb = 1'024'000'000;

// Round figures: a GB-second is a cent, a request a mill, an hour of the store 36 dollars, a write a mill.
PriceTable prices() {
  PriceTable table{.name = "A Cloud", .region = "here", .date = "2025-01-01", .source = "a test"};
  table.functions.usd_per_gb_second = 0.01;
  table.functions.usd_per_request = 0.001;
  table.services["store"] = {.usd_per_hour = 36, .smallest = 60s};
  table.services["objects"] = {.usd_per_write = 0.001, .usd_per_read = 0.0001, .usd_per_gb_transferred = 0.5};
  return table;
}

InvocationRecord invocation(double start, double seconds, const std::string& end = "done") {
  return {.task = "worker", .end = end, .start_seconds = start, .seconds = seconds, .memory_bytes = kGb};
}

TEST(BillTest, SplitsByServiceAndItem) {
  auto one = invocation(0, 2);
  one.billed = 1500ms;
  const ServiceRecord objects{.service = "objects", .seconds = 10, .writes = 5, .reads = 10, .bytes = 2'000'000'000};
  const auto bill = price(Ledger{.invocations = {one, one}, .services = {objects}}, prices());
  EXPECT_THAT(bill.charges(), testing::ElementsAre(Charge{"functions", "GB-seconds", 3, Usd::of(0.03)},
                                                   Charge{"functions", "requests", 2, Usd::of(0.002)},
                                                   Charge{"objects", "writes", 5, Usd::of(0.005)},
                                                   Charge{"objects", "reads", 10, Usd::of(0.001)},
                                                   Charge{"objects", "GB transferred", 2, Usd::of(1)}));
  EXPECT_EQ(bill.total(), Usd::of(1.038));
  EXPECT_EQ(bill.of_service("functions"), Usd::of(0.032));
}

TEST(BillTest, PaysForWhatThePlatformSaysElseForDurationAndInitElseForTheWait) {
  auto functions = prices().functions;
  auto record = invocation(0, 3);
  EXPECT_EQ(paid_time(record, functions), 3000ms);
  record.duration = 2000100us;
  record.init = 500us;
  EXPECT_EQ(paid_time(record, functions), 2001ms);
  functions.bills_init = false;
  record.init = 1s;
  EXPECT_EQ(paid_time(record, functions), 2001ms);
  record.billed = 2600ms;
  EXPECT_EQ(paid_time(record, functions), 2600ms);
  functions.granularity = 1s;  // of another platform than the one that said it
  EXPECT_EQ(paid_time(record, functions), 3s);
}

TEST(BillTest, ReckonsASmallLedgerAsMLLessWould) {
  auto said = invocation(0, 1.3);
  said.memory_bytes = 2'048'000'000;
  said.billed = 1234ms;  // 13 times 100 ms of 2 GB
  auto measured = invocation(0, 1.1);
  measured.memory_bytes = 512'000'000;
  measured.duration = 950200us;
  measured.init = 60ms;  // 11 times 100 ms of half a GB
  const ServiceRecord redis{.service = "redis", .seconds = 1800, .writes = 700, .reads = 700, .bytes = 1'000'000'000};
  const auto bill = price(Ledger{.invocations = {said, measured}, .services = {redis}}, find_price_table("ibm-2021"));
  EXPECT_EQ(bill.of_service("functions"), Usd::of(0.0000442) + Usd::of(0.00000935));
  EXPECT_EQ(bill.of_service("redis"), Usd::of(0.085));
  EXPECT_EQ(bill.total(), Usd::of(0.08505355));
}

TEST(BillTest, PaysForInvocationsWithoutAnAnswerButNotForThoseThatDidNotBegin) {
  for (const auto* end : {"crashed", "timeout", "out_of_memory", "abandoned"}) {
    EXPECT_EQ(price(invocation(0, 1, end), prices()).total(), Usd::of(0.011)) << end;
  }
  EXPECT_EQ(price(invocation(0, 1, "throttled"), prices()), Bill());
}

TEST(BillTest, RefusesAServiceWithoutAPrice) {
  EXPECT_THROW(static_cast<void>(price(ServiceRecord{.service = "magic"}, prices())), Error);
}

TEST(BillTest, TellsWhatHadBeenSpentAtATime) {
  const Ledger ledger{.invocations = {invocation(1, 2), invocation(2, 4)},
                      .services = {{.service = "store", .start_seconds = 1, .seconds = 120}}};
  const Spending spending(ledger, prices());
  EXPECT_EQ(spending.until(0), Usd());
  // Half of the first (0.021), and the store's smallest time, 60 s at a cent a second.
  EXPECT_EQ(spending.until(2), Usd::of(0.0105 + 0.6));
  EXPECT_EQ(spending.until(200), price(ledger, prices()).total());
  Usd last;
  for (int look = 0; look < 186; ++look) {
    const auto now = spending.until(0.7 * look);
    EXPECT_GE(now, last);
    last = now;
  }
}

RunOutline outline() {
  return {.workers = 4,
          .memory_bytes = kGb,
          .lifetime = 900s,
          .evaluations = 10,
          .evaluations_at_once = 1,
          .evaluation_memory_bytes = kGb,
          .evaluation_timeout = 30s,
          .services = {"store"}};
}

TEST(EstimateTest, AnHourIsAllAtWork) {
  const auto estimate = estimate_cost(outline(), prices());
  // Five functions for an hour, 4 x 4 + 10 requests, and the store.
  EXPECT_EQ(estimate.per_hour.total(), Usd::of(5 * 36 + 0.026 + 36));
  EXPECT_EQ(estimate.at_once, Usd::of(0.6));
  EXPECT_EQ(estimate.at_most, std::nullopt);
  EXPECT_THAT(estimate_text(estimate, prices()), HasSubstr("an hour of it would cost $216.03 on A Cloud"));
}

TEST(EstimateTest, ATimeLimitBoundsTheWhole) {
  auto run = outline();
  run.time_limit = 3590s;
  run.closing = 10s;
  run.restarts = 1;
  const auto estimate = estimate_cost(run, prices());
  // 8 requests in the place of each worker, each rounded up by 1 ms; ten evaluations of 30 s.
  EXPECT_EQ(estimate.at_most, Usd::of(4 * 0.01 * (3600 + 8 * 0.001) + 0.032 + 10 * 0.301 + 36 - 0.0000))
      << estimate.at_most->dollars();
  EXPECT_EQ(estimate.bound, "time limit");
  run.budget = Usd::of(1);
  EXPECT_EQ(estimate_cost(run, prices()).at_most, Usd::of(1));
  EXPECT_EQ(estimate_cost(run, prices()).bound, "budget");
  run.budget = Usd::of(1000);
  EXPECT_EQ(estimate_cost(run, prices()).bound, "time limit");
}

TEST(EstimateTest, CountsInvocationsThatEndEarly) {
  auto run = outline();
  run.early_ends = 100;
  const auto more = estimate_cost(run, prices()).per_hour.total() - estimate_cost(outline(), prices()).per_hour.total();
  EXPECT_EQ(more, Usd::of(4 * 100 * 0.001));
  run.time_limit = 3590s;
  run.closing = 10s;
  const auto estimate = estimate_cost(run, prices());
  // 104 requests in the place of each worker, each rounded up by 1 ms.
  EXPECT_EQ(estimate.at_most, Usd::of(4 * 0.01 * (3600 + 104 * 0.001) + 4 * 0.104 + 10 * 0.301 + 36))
      << estimate.at_most->dollars();
}

TEST(EstimateTest, CountsRequestsToAStoreThatAsksForThem) {
  auto run = outline();
  run.request_service = "objects";
  run.writes_per_second = 10;
  run.reads_per_second = 20;
  const auto more = estimate_cost(run, prices()).per_hour.total() - estimate_cost(outline(), prices()).per_hour.total();
  EXPECT_EQ(more, Usd::of(36 + 7.2));
}

// The bound of the estimate against a bill of a run that used all of it.
TEST(EstimateTest, NoRunWithinItsLimitsCostsMore) {
  auto run = outline();
  run.time_limit = 100s;
  run.closing = 5s;
  run.lifetime = 30s;
  run.restarts = 2;
  const auto estimate = estimate_cost(run, prices());
  Ledger ledger;
  for (int worker = 0; worker < 4; ++worker) {
    for (int generation = 0; generation < 12; ++generation) {  // 4 lifetimes of three attempts, with the time of 105 s
      ledger.invocations.push_back(invocation(0, 105.0 / 12 - 0.0001));
      ledger.invocations.back().memory_bytes = kGb - 1;
    }
  }
  for (int i = 0; i < 10; ++i) ledger.invocations.push_back(invocation(0, 30));
  ledger.services.push_back({.service = "store", .seconds = 105});
  EXPECT_LE(price(ledger, prices()).total(), *estimate.at_most);
}

TEST(BillTest, PaysForVirtualMachinesFromTheirRequestOnAndNotForWhatWorksOnThem) {
  auto table = prices();
  table.instances.name = "Machines";
  table.instances.types["small"].rent = {.usd_per_hour = 36, .smallest = 60s};
  auto on_it = invocation(5, 20);
  on_it.instance = "small";
  EXPECT_EQ(price(on_it, table), Bill());
  const VmRecord vm{.instance = "small", .start_seconds = 5, .startup_seconds = 100, .seconds = 20.5};
  const Ledger ledger{.invocations = {on_it}, .services = {}, .vms = {vm}};
  const auto bill = price(ledger, table);
  EXPECT_THAT(bill.charges(), testing::ElementsAre(Charge{"small", "VM-seconds", 21, Usd::of(0.21)},
                                                   Charge{"small", "VM-seconds of start-up", 100, Usd::of(1)}));
  EXPECT_EQ(would_cost(bill, table), "would cost $1.21 on Machines (prices of 2025-01-01)");
  EXPECT_EQ(would_cost(price(invocation(0, 1), table), table), "would cost $0.0110 on A Cloud (prices of 2025-01-01)");

  const Spending spending(ledger, table);
  EXPECT_EQ(spending.until(4), Usd());
  EXPECT_EQ(spending.until(5), Usd::of(1)) << "its start is paid for as soon as it is asked for";
  EXPECT_EQ(spending.until(14.75), Usd::of(1.1));
  EXPECT_EQ(spending.until(1000), bill.total());

  EXPECT_EQ(price(VmRecord{.instance = "small", .seconds = 3}, table).total(), Usd::of(0.6)) << "a minute at least";
  EXPECT_THROW(static_cast<void>(price(VmRecord{.instance = "large", .seconds = 3}, table)), Error);
}

TEST(EstimateTest, CountsTheStartOfVirtualMachines) {
  auto table = prices();
  table.instances.types["small"].rent = {.usd_per_hour = 36, .smallest = 60s};
  const RunOutline outline{.workers = 2,
                           .lifetime = 1s,
                           .evaluations = 7,
                           .instance = "small",
                           .startup_seconds = 100,
                           .services = {},
                           .request_service = {},
                           .time_limit = 10s,
                           .closing = 2s,
                           .budget = {}};
  const auto estimate = estimate_cost(outline, table);
  EXPECT_EQ(estimate.per_hour.total(), Usd::of(72));
  EXPECT_EQ(estimate.at_once, Usd::of(2.02)) << "a second that has begun is paid for";
  EXPECT_EQ(estimate.at_most, Usd::of(2.24));
}

}  // namespace
}  // namespace virga
