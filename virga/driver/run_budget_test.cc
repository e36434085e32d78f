#include "virga/driver/run_budget.h"

#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/channel/temporary_folder_testing.h"
#include "virga/cost/bill.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using testing::HasSubstr;
using Use = RunBudget::Use;

constexpr std::uint64_t kMemory = 708'000'000;

RunBudget::Options options(double usd) {
  return {.limit = Usd::of(usd),
          .paid = {},
          .workers = 4,
          .validates = true,
          .memory_bytes = kMemory,
          .lifetime = 900s,
          .overrun = 11s,
          .services = {"data-store"}};
}

Usd price_of(milliseconds time) {
  const auto& prices = builtin_price_table().functions;
  return invocation_price(prices, kMemory, billed_time(prices, time));
}

std::string refusal(const RunBudget::Options& options) {
  try {
    const RunBudget budget(options, builtin_price_table(), 0);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBudgetExhausted);
    return error.what();
  }
  return "";
}

TEST(RunBudgetTest, LeavesLifetimesAloneWhereThereIsMoneyForSeveralGenerations) {
  EXPECT_EQ(RunBudget(options(5), builtin_price_table(), 0).lifetime(), 900s);
  auto without = options(1);
  without.limit = Usd::most();
  RunBudget unlimited(without, builtin_price_table(), 0);
  EXPECT_EQ(unlimited.lifetime(), 900s);
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(unlimited.lease(Use::kWorker, 1e6));
}

TEST(RunBudgetTest, ShortensLifetimesSoThatSeveralGenerationsFit) {
  for (const double usd : {0.1, 0.05, 0.02, 0.01}) {
    RunBudget budget(options(usd), builtin_price_table(), 0);
    EXPECT_LT(budget.lifetime(), 900s) << usd;
    EXPECT_GE(budget.lifetime(), 10s) << usd;
    EXPECT_EQ(budget.lifetime() % 1s, 0ms);
    for (int worker = 0; worker < 4; ++worker) EXPECT_TRUE(budget.lease(Use::kWorker, 0.5));
    EXPECT_TRUE(budget.has_generations(1, 0.5)) << usd;
  }
}

TEST(RunBudgetTest, TakesASmallSumForASingleShortGeneration) {
  auto small = options(0.0035);
  RunBudget budget(small, builtin_price_table(), 0);
  EXPECT_GE(budget.lifetime(), 2s);
  EXPECT_LT(budget.lifetime(), 30s);
  for (int worker = 0; worker < 4; ++worker) EXPECT_TRUE(budget.lease(Use::kWorker, 0));
}

TEST(RunBudgetTest, RefusesASumWithWhichNothingCanBegin) {
  EXPECT_THAT(refusal(options(0.0001)),
              HasSubstr("a budget of $0.000100 is too small for 4 functions to begin: at least"));
  auto paid = options(0.05);
  paid.paid = Usd::of(0.0499);
  EXPECT_THAT(refusal(paid), HasSubstr("too small"));
  paid.paid = Usd::of(7);
  EXPECT_THAT(refusal(paid), HasSubstr("too small"));
}

TEST(RunBudgetTest, NamesASumThatWouldDo) {
  const auto text = refusal(options(0.0001));
  const auto at = text.find("at least $");
  ASSERT_NE(at, std::string::npos);
  EXPECT_EQ(refusal(options(std::stod(text.substr(at + 10)))), "");
}

/// Whatever is asked for, and however late invocations end: never above the limit.
TEST(RunBudgetTest, SpendsNoMoreThanTheLimitThoughAllIsUsedToTheEnd) {
  RunBudget budget(options(0.02), builtin_price_table(), 0);
  const auto longest = budget.lifetime() + 11s;
  Usd functions;
  double now = 0;
  int generations = 0, evaluations = 0;
  std::vector<Budget::Ticket> tickets;
  for (;; ++generations) {
    for (int worker = 0; worker < 4; ++worker) {
      if (const auto ticket = budget.lease(Use::kWorker, now)) tickets.push_back(*ticket);
    }
    if (const auto ticket = budget.lease(Use::kEvaluation, now)) tickets.push_back(*ticket);
    if (tickets.empty()) break;
    now += std::chrono::duration<double>(longest).count();
    for (const auto ticket : tickets) {
      budget.settle(ticket, price_of(longest));
      functions += price_of(longest);
    }
    tickets.clear();
    ASSERT_LT(generations, 100);
  }
  EXPECT_GE(generations, 3);
  while (const auto ticket = budget.lease(Use::kLastEvaluation, now)) {
    now += 0.01;
    budget.settle(*ticket, price_of(10ms));
    functions += price_of(10ms);
    ASSERT_LT(++evaluations, 1'000'000);
  }
  EXPECT_GE(evaluations, 10);
  const auto store = service_time_price(service_prices(builtin_price_table(), "data-store"), now);
  EXPECT_LE(functions + store, Usd::of(0.02));
  EXPECT_GE(functions + store, Usd::of(0.014));  // and it is no miser
}

TEST(RunBudgetTest, LeasesRequestsBesidesTime) {
  EXPECT_EQ(RunBudget(options(0.05), builtin_price_table(), 0).requests(), Usd()) << "none are billed";
  for (const double usd : {0.02, 0.05, 5.0}) {
    auto with = options(usd);
    with.least_requests = Usd::of(0.0003);
    RunBudget budget(with, builtin_price_table(), 0);
    const auto longest = budget.lifetime() + 11s;
    EXPECT_GE(budget.requests(), std::max(with.least_requests, price_of(longest)));
    Usd spent;
    double now = 0;
    int generations = 0;
    std::vector<Budget::Ticket> tickets;
    for (;; ++generations) {
      for (int worker = 0; worker < 4; ++worker) {
        if (const auto ticket = budget.lease(Use::kWorker, now)) tickets.push_back(*ticket);
      }
      if (tickets.empty()) break;
      now += std::chrono::duration<double>(longest).count();
      for (const auto ticket : tickets) {
        budget.settle(ticket, price_of(longest) + budget.requests());
        spent += price_of(longest) + budget.requests();
      }
      tickets.clear();
      ASSERT_LT(generations, 100);
    }
    EXPECT_GE(generations, 1) << usd;
    // What the driver asked for, and the end, have been kept back.
    budget.pay(with.least_requests);
    const auto last = budget.lease(Use::kLastEvaluation, now);
    ASSERT_TRUE(last) << usd;
    now += std::chrono::duration<double>(longest).count();
    budget.settle(*last, price_of(longest) + with.least_requests);
    spent += price_of(longest) + with.least_requests + with.least_requests;
    const auto store = service_time_price(service_prices(builtin_price_table(), "data-store"), now);
    EXPECT_LE(spent + store, Usd::of(usd));
    EXPECT_GE(spent + store, Usd::of(usd * 0.5)) << "and it is no miser";
  }
}

TEST(RunBudgetTest, NamesASumThatWouldDoForRequestsToo) {
  auto with = options(0.0001);
  with.least_requests = Usd::of(0.0003);
  const auto text = refusal(with);
  const auto at = text.find("at least $");
  ASSERT_NE(at, std::string::npos);
  with.limit = Usd::of(std::stod(text.substr(at + 10)));
  EXPECT_EQ(refusal(with), "");
}

TEST(RunBudgetTest, KeepsWhatMayHaveBeenSpent) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "leased.json";
  const auto store = open_object_store(folder.path().string());
  EXPECT_EQ(read_leased(*store), std::nullopt);
  RunBudget budget(options(0.05), builtin_price_table(), 0);
  const auto before = budget.leased(0);
  EXPECT_TRUE(budget.lease(Use::kWorker, 0));
  EXPECT_GT(budget.leased(0), before);
  keep_leased(*store, budget.leased(0));
  EXPECT_EQ(read_leased(*store), budget.leased(0));
  EXPECT_LE(budget.leased(0), budget.limit());
  for (const auto* bad : {"", "{}", "[]", R"({"version":2,"picodollars":1})", R"({"version":1,"picodollars":-1})",
                          R"({"version":1,"picodollars":"1"})", R"({"version":1,"picodollars":1e300})",
                          R"({"version":1,"picodollars":9223372036854775808})"}) {
    write_file_atomically(file, as_bytes(bad));
    EXPECT_THROW((void)read_leased(*store), Error) << bad;
  }
}

TEST(RunBudgetTest, LeasesByTheTableInForce) {
  const auto ibm = find_price_table("ibm-2021");
  auto two_gb = options(1);
  two_gb.workers = 1;
  two_gb.validates = false;
  two_gb.memory_bytes = 2'048'000'000;
  two_gb.lifetime = 10s;
  two_gb.overrun = 11050ms;
  two_gb.services = {};
  RunBudget budget(two_gb, ibm, 0);
  const auto before = budget.leased(0);
  EXPECT_TRUE(budget.lease(Use::kWorker, 0));
  // 21.05 s are billed as 211 times 100 ms, of 2 GB at 0.000017 dollars a second, and nothing for the request.
  EXPECT_EQ(budget.leased(0) - before, Usd::of(0.0007174));

  two_gb.services = {"redis"};
  RunBudget with_redis(two_gb, ibm, 0);
  const auto rent = with_redis.leased(0);
  EXPECT_GE(rent, Usd::of(30 * 0.17 / 3600)) << "until the driver has closed";
  EXPECT_LT(rent, Usd::of(60 * 0.17 / 3600)) << "no smallest time";
  two_gb.services = {"dynamodb"};
  EXPECT_THROW(RunBudget(two_gb, ibm, 0), Error);
}

/// For two machines.
RunBudget::Options machines(double usd) {
  auto machines = options(usd);
  machines.workers = 2;
  machines.services = {};
  machines.fleet = VmFleet{.instance = "c5.large", .count = 2, .startup_seconds = 132};
  return machines;
}
Usd price_of_machines(double seconds) {
  const auto each = vm_price(find_instance(builtin_price_table(), "c5.large"), 132, seconds);
  return each + each;
}

TEST(RunBudgetTest, SaysUntilWhenMachinesMayWork) {
  RunBudget budget(machines(0.03), builtin_price_table(), 5);
  const auto end = budget.end_seconds();
  // With the minute for which they would stay after their driver's death.
  EXPECT_LE(price_of_machines(end - 5 + 60), Usd::of(0.03));
  EXPECT_GT(price_of_machines(end - 5 + 62), Usd::of(0.03));
  EXPECT_EQ(budget.lifetime(), 900s) << "of evaluations";
  EXPECT_TRUE(budget.has_generations(1, end - 31));
  EXPECT_FALSE(budget.has_generations(1, end - 29)) << "the rest is for the last evaluation";
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(budget.lease(Use::kLastEvaluation, end - 1));
  EXPECT_FALSE(budget.lease(Use::kLastEvaluation, end + 1));
  EXPECT_EQ(budget.leased(50), price_of_machines(45 + 60 + 10)) << "whatever becomes of the driver";
}

TEST(RunBudgetTest, RefusesASumThatTheStartOfMachinesUsesUp) {
  EXPECT_THAT(refusal(machines(0.005)), HasSubstr("too small for 2 virtual machines of type c5.large"));
  EXPECT_THAT(refusal(machines(0.005)), HasSubstr("132 s of start-up included"));
  auto unlimited = machines(1);
  unlimited.limit = Usd::most();
  EXPECT_EQ(RunBudget(unlimited, builtin_price_table(), 0).end_seconds(), std::numeric_limits<double>::infinity());
}

}  // namespace
}  // namespace virga
