#include "virga/cost/estimate.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"

namespace virga {
namespace {

using std::chrono::nanoseconds;

double seconds_of(nanoseconds time) { return std::chrono::duration<double>(time).count(); }

/// Most invocations of a worker in `time`: whole lifetimes that fill it, and those that end before theirs does.
std::uint64_t invocations_in(nanoseconds time, const RunOutline& outline) {
  const auto lifetime = outline.lifetime.count();
  return static_cast<std::uint64_t>((time.count() + lifetime - 1) / lifetime) + outline.early_ends;
}

/// From their request on.
Bill vms_until(const RunOutline& outline, const PriceTable& table, double seconds) {
  Bill bill;
  for (std::uint32_t i = 0; i < outline.workers; ++i) {
    bill += price(VmRecord{.instance = outline.instance,
                           .startup_seconds = outline.startup_seconds,
                           .seconds = std::max(0.0, seconds)},
                  table);
  }
  return bill;
}

void add_functions(Bill& bill, const FunctionPrices& prices, double count, std::uint64_t memory_bytes, double seconds,
                   double requests) {
  if (count <= 0) return;
  const auto second = gb_seconds(prices, memory_bytes, std::chrono::seconds(1));
  const auto size = count * second * seconds;
  bill.add({"functions", "GB-seconds", size, bounded_usd(size * prices.usd_per_gb_second)});
  bill.add({"functions", "requests", requests, bounded_usd(requests * prices.usd_per_request)});
}

void add_services(Bill& bill, const RunOutline& outline, const PriceTable& table, double seconds) {
  for (const auto& service : outline.services) {
    bill += price(ServiceRecord{.service = service, .seconds = seconds}, table);
  }
  if (outline.request_service.empty()) return;
  const auto count = [&](double per_second) {
    return static_cast<std::uint64_t>(std::ceil(std::clamp(per_second * seconds, 0.0, 1e18)));
  };
  bill += price(ServiceRecord{.service = outline.request_service,
                              .writes = count(outline.writes_per_second),
                              .reads = count(outline.reads_per_second)},
                table);
}

Bill hour_of(const RunOutline& outline, const PriceTable& table) {
  constexpr double kHour = 3600;
  Bill bill;
  if (!outline.instance.empty()) {
    bill += vms_until(outline, table, kHour - outline.startup_seconds);
    add_services(bill, outline, table, kHour);
    return bill;
  }
  const auto requests = static_cast<double>(invocations_in(std::chrono::hours(1), outline));
  add_functions(bill, table.functions, outline.workers, outline.memory_bytes, kHour, outline.workers * requests);
  // At most as many as come in all: a run may be shorter than an hour, which is no matter of a price per hour.
  add_functions(bill, table.functions, outline.evaluations_at_once, outline.evaluation_memory_bytes, kHour,
                outline.evaluations);
  add_services(bill, outline, table, kHour);
  return bill;
}

/// All places of workers filled up to the end, every evaluation as long as it may take, each rounding against the user.
Usd most_until(const RunOutline& outline, const PriceTable& table, nanoseconds end) {
  const auto& prices = table.functions;
  Bill bill;
  if (!outline.instance.empty()) {
    bill += vms_until(outline, table, seconds_of(end));
    add_services(bill, outline, table, seconds_of(end));
    return bill.total();
  }
  const auto requests = static_cast<double>(invocations_in(end, outline)) * (1.0 + outline.restarts);
  const auto rounding = std::chrono::duration<double>(prices.granularity).count();
  add_functions(bill, prices, outline.workers, outline.memory_bytes, seconds_of(end) + requests * rounding,
                outline.workers * requests);
  const auto evaluation = std::chrono::duration<double>(billed_time(prices, outline.evaluation_timeout)).count();
  add_functions(bill, prices, outline.evaluations, outline.evaluation_memory_bytes, evaluation, outline.evaluations);
  add_services(bill, outline, table, seconds_of(end));
  return bill.total();
}

}  // namespace

CostEstimate estimate_cost(const RunOutline& outline, const PriceTable& table) {
  check(outline.lifetime.count() > 0, "an invocation has a lifetime");
  CostEstimate estimate{.per_hour = hour_of(outline, table)};
  for (const auto& service : outline.services) {
    estimate.at_once += service_time_price(service_prices(table, service), 1e-9);
  }
  if (!outline.instance.empty()) estimate.at_once += vms_until(outline, table, 1e-9).total();
  if (outline.time_limit) {
    estimate.at_most = most_until(outline, table, *outline.time_limit + outline.closing);
    estimate.bound = "time limit";
  }
  if (outline.budget && (!estimate.at_most || *outline.budget < *estimate.at_most)) {
    estimate.at_most = outline.budget;
    estimate.bound = "budget";
  }
  return estimate;
}

nlohmann::json estimate_json(const CostEstimate& estimate, const PriceTable& table) {
  using nlohmann::json;
  return {{"usd_kind", "estimated"},
          {"prices", {{"name", table.name}, {"region", table.region}, {"date", table.date}, {"source", table.source}}},
          {"usd_per_hour", estimate.per_hour.total().dollars()},
          {"usd_at_once", estimate.at_once.dollars()},
          {"usd_at_most", estimate.at_most ? json(estimate.at_most->dollars()) : json(nullptr)},
          {"usd_bound", estimate.bound.empty() ? json(nullptr) : json(estimate.bound)}};
}

std::string estimate_text(const CostEstimate& estimate, const PriceTable& table) {
  const auto hour = would_cost(estimate.per_hour, table);
  if (!estimate.at_most) {
    return fmt::format("an hour of it {}; nothing bounds the whole, but --seconds (stop.seconds) would\n", hour);
  }
  return fmt::format("at most {} in all, by the {}; an hour of it {}\n", format_usd(*estimate.at_most), estimate.bound,
                     hour);
}

}  // namespace virga
