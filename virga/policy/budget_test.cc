#include "virga/policy/budget.h"

#include <algorithm>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "virga/base/error.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::SizeIs;

constexpr std::uint64_t kGb = 1'024'000'000;

// A GB-second is a cent, a request a mill, a second of the store a cent, 60 s at least.
PriceTable prices() {
  PriceTable table{.name = "A Cloud", .region = "here", .date = "2025-01-01", .source = "a test"};
  table.functions.usd_per_gb_second = 0.01;
  table.functions.usd_per_request = 0.001;
  table.services["store"] = {.usd_per_hour = 36, .smallest = 60s};
  table.services["other"] = {.usd_per_hour = 7.2};
  return table;
}

Budget::Wish wish(milliseconds timeout, std::uint32_t count = 1) {
  return {.count = count, .memory_bytes = kGb, .timeout = timeout};
}

TEST(BudgetTest, LeasesTheTimeoutTimesTheAttempts) {
  Budget budget({.limit = Usd::of(1)}, prices());
  auto two = wish(10s, 2);
  two.attempts = 3;
  two.requests = Usd::of(0.01);
  const auto grant = budget.reserve(two, 0);
  EXPECT_THAT(grant.tickets, SizeIs(2));
  EXPECT_EQ(budget.remaining(0), Usd::of(1 - 2 * (3 * 0.101 + 0.01)));
  EXPECT_EQ(budget.horizon(0), 30);
  budget.settle(grant.tickets[0], Usd::of(0.05));
  EXPECT_EQ(budget.remaining(0), Usd::of(1 - 0.313 - 0.05));
  EXPECT_EQ(budget.spent(0), Usd::of(0.05));
  EXPECT_EQ(budget.outstanding(), 1U);
}

TEST(BudgetTest, SaysWhichLifetimeStillFits) {
  Budget budget({.limit = Usd::of(1)}, prices());
  const auto grant = budget.reserve(wish(100s, 2), 0);
  EXPECT_FALSE(grant.granted());
  EXPECT_EQ(grant.fits, 49'900ms);  // two of 0.499 + 0.001
  EXPECT_FALSE(budget.reserve(wish(grant.fits + 1ms, 2), 0).granted());
  EXPECT_TRUE(budget.reserve(wish(grant.fits, 2), 0).granted());
  EXPECT_EQ(budget.remaining(0), Usd());
  EXPECT_EQ(budget.reserve(wish(1ms), 0).fits, 0ms);
}

TEST(BudgetTest, CountsWhatServicesWillHaveCostByTheEnd) {
  Budget budget({.limit = Usd::of(2), .closing_seconds = 10}, prices());
  budget.start_service("store", 0);
  EXPECT_EQ(budget.remaining(0), Usd::of(2 - 0.6));
  const auto grant = budget.reserve(wish(70s), 0);
  EXPECT_TRUE(grant.granted());
  EXPECT_EQ(budget.remaining(0), Usd::of(2 - 0.701 - 0.8));
  EXPECT_EQ(budget.remaining(85), Usd::of(2 - 0.701 - 0.95)) << "it is late";
  budget.settle(grant.tickets[0], Usd::of(0.701));
  budget.stop_service("store", 75);
  EXPECT_EQ(budget.spent(80), Usd::of(0.701 + 0.75));
}

TEST(BudgetTest, RefusesAServiceThatItCannotPay) {
  Budget budget({.limit = Usd::of(0.5)}, prices());
  try {
    budget.start_service("store", 0);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBudgetExhausted);
    EXPECT_THAT(error.what(), HasSubstr("at least $0.600"));
  }
  EXPECT_EQ(budget.spent(0), Usd());
  EXPECT_THROW(budget.start_service("magic", 0), Error);
  EXPECT_THROW(Budget({.limit = Usd::of(1), .paid = Usd::of(0.8), .kept_back = Usd::of(0.3)}, prices()), Error);
}

TEST(BudgetTest, WhatIsKeptBackIsForTheEndAlone) {
  Budget budget({.limit = Usd::of(1), .kept_back = Usd::of(0.5)}, prices());
  EXPECT_EQ(budget.reserve(wish(100s), 0).fits, 49'900ms);
  EXPECT_TRUE(budget.reserve(wish(49'900ms), 0).granted());
  auto last = wish(49'900ms);
  last.of_the_end = true;
  const auto grant = budget.reserve(last, 0);
  EXPECT_TRUE(grant.granted());
  budget.settle(grant.tickets[0], Usd::of(0.1));
  EXPECT_EQ(budget.remaining(0), Usd());
  EXPECT_EQ(budget.reserve(last, 0).fits, 39'900ms);
}

TEST(BudgetTest, PaysServicesForInvocationsOfTheEndBeforehand) {
  for (const bool beforehand : {false, true}) {
    const Budget::Wish wish{.memory_bytes = 1'000'000'000, .timeout = milliseconds(60'000)};
    const auto price = invocation_price(prices().functions, wish.memory_bytes, wish.timeout);
    Budget budget({.limit = Usd::of(5), .kept_back = price, .end_seconds = beforehand ? 60.0 : 0.0}, prices());
    budget.start_service("store", 0);
    double now = 0;
    for (auto grant = budget.reserve(wish, now); grant.granted(); grant = budget.reserve(wish, now)) {
      now += 60;
      budget.settle(grant.tickets.front(), price);
    }
    budget.pay(budget.remaining(now));  // not a cent is left but what is kept back
    auto last = wish;
    last.of_the_end = true;
    EXPECT_EQ(budget.reserve(last, now).granted(), beforehand);
  }
}

// Random runs: whatever is granted, however long it takes within its reservation, and whenever services come and go,
// the bill never exceeds the budget.
TEST(BudgetTest, NeverSpendsMoreThanTheBudget) {
  struct Running {
    Budget::Ticket ticket;
    Usd most;
    double end;
  };
  std::uint64_t granted = 0;
  std::uint64_t refused = 0;
  for (unsigned seed = 0; seed < 500; ++seed) {
    std::mt19937 random(seed);
    const auto draw = [&](double most) { return std::uniform_real_distribution(0.0, most)(random); };
    const auto table = prices();
    const double closing = draw(20);
    const auto limit = Usd::of(0.7 + draw(8));
    Budget budget({.limit = limit,
                   .closing_seconds = closing,
                   .kept_back = Usd::of(draw(0.1)),
                   .end_seconds = seed % 2 == 0 ? draw(30) : 0},
                  table);
    std::vector<Running> running;
    double now = 0;
    bool store = false;
    double idle_since = 0;
    const auto settle = [&](std::size_t i, Usd paid, double when) {
      idle_since = std::max(idle_since, when);
      budget.settle(running[i].ticket, paid);
      running.erase(running.begin() + static_cast<std::ptrdiff_t>(i));
    };
    for (int step = 0; step < 200; ++step) {
      // Nothing outlives its reservation.
      const auto next = now + draw(5);
      for (std::size_t i = running.size(); i-- > 0;) {
        if (running[i].end > next) continue;
        settle(i, running[i].most, running[i].end);
      }
      // Without work, services are there for no longer than it takes to close.
      if (running.empty() && store && next > idle_since + closing) {
        budget.stop_service("store", idle_since + closing);
        store = false;
      }
      now = next;
      if (const double event = draw(1); event < 0.5) {
        Budget::Wish one{.count = 1 + static_cast<std::uint32_t>(draw(4)),
                         .memory_bytes = static_cast<std::uint64_t>(1e8 + draw(3e9)),
                         .timeout = milliseconds(1 + static_cast<int>(draw(60'000))),
                         .attempts = 1 + static_cast<std::uint32_t>(draw(3)),
                         .requests = Usd::of(draw(0.01)),
                         .of_the_end = draw(1) < 0.1};
        auto grant = budget.reserve(one, now);
        if (!grant.granted() && grant.fits.count() > 0) {
          one.timeout = grant.fits;
          grant = budget.reserve(one, now);
          ASSERT_TRUE(grant.granted()) << "what fits is granted";
        }
        ++(grant.granted() ? granted : refused);
        const auto attempt = invocation_price(table.functions, one.memory_bytes, one.timeout);
        Usd most = one.requests;
        for (std::uint32_t i = 0; i < one.attempts; ++i) most += attempt;
        for (const auto ticket : grant.tickets) {
          running.push_back({ticket, most, now + std::chrono::duration<double>(one.timeout).count() * one.attempts});
        }
      } else if (event < 0.8 && !running.empty()) {
        const auto i = static_cast<std::size_t>(draw(static_cast<double>(running.size()) - 1e-9));
        settle(i, Usd::of(running[i].most.dollars() * draw(1)), now);
      } else if (event < 0.9 && !store) {
        try {
          budget.start_service("store", now);
          store = true;
          idle_since = now;
        } catch (const Error&) {
          ++refused;
        }
      } else if (event < 0.92 && store) {
        budget.stop_service("store", now);
        store = false;
      }
      ASSERT_LE(budget.spent(now), limit) << seed;
    }
    for (const auto& one : running) {
      now = std::max(now, one.end);
      budget.settle(one.ticket, one.most);
    }
    if (store) budget.stop_service("store", running.empty() ? now : now + closing);
    EXPECT_LE(budget.spent(now + closing), limit) << seed;
  }
  EXPECT_GT(granted, 1000U);
  EXPECT_GT(refused, 1000U);
}

}  // namespace
}  // namespace virga
