#include "virga/cost/bill.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace virga {
namespace {

/// The part of [start, start + length] that has passed.
double part_until(double seconds, double start, double length) {
  if (seconds >= start + length) return 1;
  if (seconds <= start) return 0;
  return (seconds - start) / length;
}

}  // namespace

void Bill::add(Charge charge) {
  const auto same = std::ranges::find_if(
      charges_, [&](const Charge& other) { return other.service == charge.service && other.item == charge.item; });
  if (same == charges_.end()) return charges_.push_back(std::move(charge));
  same->amount += charge.amount;
  same->usd += charge.usd;
}

Bill& Bill::operator+=(const Bill& other) {
  for (const auto& charge : other.charges_) add(charge);
  return *this;
}

Usd Bill::total() const noexcept {
  Usd sum;
  for (const auto& charge : charges_) sum += charge.usd;
  return sum;
}

Usd Bill::of_service(const std::string& service) const noexcept {
  Usd sum;
  for (const auto& charge : charges_) {
    if (charge.service == service) sum += charge.usd;
  }
  return sum;
}

std::chrono::milliseconds paid_time(const InvocationRecord& record, const FunctionPrices& prices) noexcept {
  if (record.end == "throttled" || !record.instance.empty()) return {};
  if (record.billed.count() > 0) return billed_time(prices, record.billed);
  if (record.duration.count() > 0) {
    return billed_time(prices, record.duration + (prices.bills_init ? record.init : std::chrono::microseconds(0)));
  }
  return billed_time(prices, std::chrono::nanoseconds(std::llround(std::clamp(record.seconds, 0.0, 1e9) * 1e9)));
}

Bill price(const InvocationRecord& record, const PriceTable& table) {
  Bill bill;
  if (record.end == "throttled" || !record.instance.empty()) return bill;
  const auto& prices = table.functions;
  const auto size = gb_seconds(prices, record.memory_bytes, paid_time(record, prices));
  bill.add({"functions", "GB-seconds", size, bounded_usd(size * prices.usd_per_gb_second)});
  bill.add({"functions", "requests", 1, bounded_usd(prices.usd_per_request)});
  return bill;
}

Bill price(const ServiceRecord& record, const PriceTable& table) {
  Bill bill;
  const auto& prices = service_prices(table, record.service);
  const auto add = [&](const char* item, double amount, Usd usd) {
    if (amount > 0) bill.add({record.service, item, amount, usd});
  };
  if (prices.usd_per_hour > 0) add("hours", record.seconds / 3600, service_time_price(prices, record.seconds));
  add("writes", static_cast<double>(record.writes), service_use_price(prices, {.writes = record.writes}));
  add("reads", static_cast<double>(record.reads), service_use_price(prices, {.reads = record.reads}));
  add("GB transferred", static_cast<double>(record.bytes) / 1e9, service_use_price(prices, {.bytes = record.bytes}));
  return bill;
}

Usd vm_price(const Instance& instance, double startup_seconds, double seconds) {
  return service_time_price(instance.rent, std::max(0.0, startup_seconds) + std::max(0.0, seconds));
}

Bill price(const VmRecord& record, const PriceTable& table) {
  Bill bill;
  const auto& instance = find_instance(table, record.instance);
  if (!(record.startup_seconds + record.seconds > 0)) return bill;
  const auto all = vm_price(instance, record.startup_seconds, record.seconds);
  const auto startup = bounded_usd(instance.rent.usd_per_hour * record.startup_seconds / 3600);
  // What the smallest time adds is the machine's, not its start's.
  const auto billed =
      std::max(std::ceil(record.startup_seconds + record.seconds), static_cast<double>(instance.rent.smallest.count()));
  bill.add({record.instance, "VM-seconds", billed - record.startup_seconds, all - std::min(all, startup)});
  if (record.startup_seconds > 0) {
    bill.add({record.instance, "VM-seconds of start-up", record.startup_seconds, std::min(all, startup)});
  }
  return bill;
}

const std::string& platform_of(const Bill& bill, const PriceTable& table) noexcept {
  const auto& types = table.instances.types;
  const bool vms =
      std::ranges::any_of(bill.charges(), [&](const Charge& charge) { return types.contains(charge.service); });
  return vms ? table.instances.name : table.name;
}

std::string would_cost(const Bill& bill, const PriceTable& table) {
  return fmt::format("would cost {} on {} (prices of {})", format_usd(bill.total()), platform_of(bill, table),
                     table.date);
}

Bill price(const Ledger& ledger, const PriceTable& table) {
  Bill bill;
  for (const auto& record : ledger.invocations) bill += price(record, table);
  for (const auto& record : ledger.services) bill += price(record, table);
  for (const auto& record : ledger.vms) bill += price(record, table);
  return bill;
}

Spending::Spending(const Ledger& ledger, const PriceTable& table) {
  for (const auto& record : ledger.invocations) {
    parts_.push_back({.start_seconds = record.start_seconds,
                      .seconds = record.seconds,
                      .usd = price(record, table).total(),
                      .prices = {}});
  }
  for (const auto& record : ledger.services) {
    const auto& prices = service_prices(table, record.service);
    parts_.push_back({.start_seconds = record.start_seconds,
                      .seconds = record.seconds,
                      .usd = price(record, table).total() - service_time_price(prices, record.seconds),
                      .prices = prices});
  }
  for (const auto& record : ledger.vms) {
    parts_.push_back({.start_seconds = record.start_seconds,
                      .seconds = record.seconds,
                      .usd = {},
                      .prices = find_instance(table, record.instance).rent,
                      .startup_seconds = record.startup_seconds});
  }
}

Usd Spending::until(double seconds) const {
  Usd sum;
  for (const auto& part : parts_) {
    const auto passed = part_until(seconds, part.start_seconds, part.seconds);
    sum += passed == 1 ? part.usd : bounded_usd(part.usd.dollars() * passed);
    const auto startup = seconds >= part.start_seconds ? part.startup_seconds : 0;
    sum += service_time_price(part.prices, startup + passed * part.seconds);
  }
  return sum;
}

}  // namespace virga
