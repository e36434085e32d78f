#include "virga/driver/run_budget.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/cost/bill.h"
#include "virga/cost/json_reader.h"

namespace virga {

using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr std::uint32_t kLastEvaluations = 2;  // what is kept back is enough for one more than one that takes its time
constexpr double kClosingSeconds = 30;         // from the end of the last invocation to that of the driver
constexpr auto kLeastLifetime = seconds(2);
constexpr auto kUsefulLifetime = seconds(10);
constexpr std::string_view kLeasedObject = "leased.json";
constexpr std::uint64_t kMostFileBytes = 4096;
constexpr int kVersion = 1;

double seconds_of(milliseconds time) { return std::chrono::duration<double>(time).count(); }

}  // namespace

RunBudget::RunBudget(Options options, PriceTable table, double now_seconds)
    : options_(std::move(options)), table_(std::move(table)) {
  if (options_.fleet) {
    open_machines(now_seconds);
    return;
  }
  for (const auto& [generations, least] :
       {std::pair{4U, kUsefulLifetime}, {2U, kUsefulLifetime}, {1U, kLeastLifetime}}) {
    if (choose_lifetime(generations, std::min<milliseconds>(least, options_.lifetime), now_seconds)) return;
  }
  throw Error(ErrorKind::kBudgetExhausted,
              fmt::format("a budget of {} is too small for {} functions to begin: at least {} must be there",
                          format_usd(options_.limit), options_.workers, format_usd(least())),
              "give a larger budget (--budget), or fewer workers or less memory");
}

/// Paid for machines and services that are there until then, and before.
Usd RunBudget::paid_until(double end_seconds) const {
  auto sum = options_.paid;
  const auto& fleet = *options_.fleet;
  const auto each =
      vm_price(find_instance(table_, fleet.instance), fleet.startup_seconds, end_seconds - machines_since_);
  for (std::uint32_t i = 0; i < fleet.count; ++i) sum += each;
  for (const auto& service : options_.services) {
    sum += service_time_price(service_prices(table_, service), std::max(end_seconds - machines_since_, 1e-9));
  }
  return sum;
}

/// Finds out until when the sum lasts.
void RunBudget::open_machines(double now_seconds) {
  lifetime_ = options_.lifetime;
  machines_since_ = now_seconds;
  constexpr double kForEver = 1e9;
  if (paid_until(now_seconds + kForEver) <= options_.limit) return;
  const auto orphans = seconds_of(options_.orphan_timeout);
  double low = now_seconds + seconds_of(kLeastLifetime) + kClosingSeconds + orphans;
  if (paid_until(low) > options_.limit) {
    throw Error(ErrorKind::kBudgetExhausted,
                fmt::format("a budget of {} is too small for {} virtual machines of type {}: {} would be spent when "
                            "they have just begun, {:.0f} s of start-up included",
                            format_usd(options_.limit), options_.fleet->count, options_.fleet->instance,
                            format_usd(paid_until(low)), options_.fleet->startup_seconds),
                "give a larger budget (--budget), or fewer workers or another --instance");
  }
  for (double high = now_seconds + kForEver; high - low > 0.5;) {
    const double middle = low + (high - low) / 2;
    (paid_until(middle) <= options_.limit ? low : high) = middle;
  }
  end_seconds_ = low - orphans;
}

Usd RunBudget::leased(double now_seconds) const {
  if (!options_.fleet) return options_.limit - budget_->remaining(now_seconds);
  return paid_until(now_seconds + kLeaseSeconds + seconds_of(options_.orphan_timeout));
}

Budget::Wish RunBudget::wish(std::uint32_t count, milliseconds lifetime) const {
  return {.count = count,
          .memory_bytes = options_.memory_bytes,
          .timeout = lifetime + options_.overrun,
          .requests = requests_};
}

Usd RunBudget::price_of_one(milliseconds lifetime) const {
  const auto time = billed_time(table_.functions, lifetime + options_.overrun);
  return invocation_price(table_.functions, options_.memory_bytes, time);
}

/// Makes the budget for invocations that live so long; false if `generations` of all workers do not fit into it.
bool RunBudget::open(std::uint32_t generations, milliseconds lifetime, double now_seconds) {
  Budget::Options options{
      .limit = options_.limit, .paid = options_.paid, .closing_seconds = kClosingSeconds, .kept_back = {}};
  if (options_.validates) {
    for (std::uint32_t i = 0; i < kLastEvaluations; ++i) {
      options.kept_back += price_of_one(lifetime) + options_.least_requests;
    }
    options.end_seconds = seconds_of(lifetime + options_.overrun);
  }
  options.kept_back += options_.least_requests;  // the driver's own
  // For requests as much as for the time, and an equal share of what is left over.
  const auto count = generations * options_.workers + 1;
  requests_ = options_.least_requests > Usd() ? std::max(options_.least_requests, price_of_one(lifetime)) : Usd();
  lifetime_ = lifetime;
  try {
    budget_.emplace(options, table_);
    for (const auto& service : options_.services) budget_->start_service(service, now_seconds);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kBudgetExhausted) throw;
    return false;
  }
  const auto grant = budget_->reserve(wish(count, lifetime), now_seconds);
  const auto left = budget_->remaining(now_seconds);
  for (const auto ticket : grant.tickets) budget_->settle(ticket, Usd());
  if (grant.granted() && requests_ > Usd()) requests_ += Usd::picodollars(left.picodollars() / count);
  return grant.granted();
}

/// The longest with which it fits; false if none from `least` on does.
bool RunBudget::choose_lifetime(std::uint32_t generations, milliseconds least, double now_seconds) {
  if (open(generations, options_.lifetime, now_seconds)) return true;
  if (!open(generations, least, now_seconds)) return false;
  auto low = std::chrono::ceil<seconds>(least);
  auto high = std::chrono::ceil<seconds>(options_.lifetime);
  while (high - low > seconds(1)) {
    const auto middle = low + (high - low) / 2;
    (open(generations, middle, now_seconds) ? low : high) = middle;
  }
  return open(generations, low, now_seconds);
}

/// Rounded up for people.
Usd RunBudget::least() const {
  const auto lifetime = std::min<milliseconds>(kLeastLifetime, options_.lifetime);
  const auto count = options_.workers + 1 + (options_.validates ? kLastEvaluations : 0);
  auto sum = options_.paid;
  for (std::uint32_t i = 0; i < count; ++i) sum += price_of_one(lifetime) + options_.least_requests;
  if (options_.least_requests > Usd()) {
    for (std::uint32_t i = 0; i <= options_.workers; ++i) sum += price_of_one(lifetime);
    sum += options_.least_requests;
  }
  const auto time = kClosingSeconds + 2 * seconds_of(lifetime + options_.overrun);
  for (const auto& service : options_.services) sum += service_time_price(service_prices(table_, service), time);
  return bounded_usd(sum.dollars() * 1.1);
}

std::optional<Budget::Ticket> RunBudget::lease(Use use, double now_seconds) {
  if (options_.fleet) return now_seconds < end_seconds_ ? std::optional<Budget::Ticket>(0) : std::nullopt;
  auto wanted = wish(1, lifetime_);
  wanted.of_the_end = use == Use::kLastEvaluation;
  if (use != Use::kWorker) wanted.requests = options_.least_requests;
  const auto grant = budget_->reserve(wanted, now_seconds);
  if (!grant.granted()) return std::nullopt;
  return grant.tickets.front();
}

bool RunBudget::has_generations(std::uint32_t generations, double now_seconds) {
  if (options_.fleet) return now_seconds < end_seconds_ - kClosingSeconds;
  const auto grant = budget_->reserve(wish(generations * options_.workers, lifetime_), now_seconds);
  for (const auto ticket : grant.tickets) budget_->settle(ticket, Usd());
  return grant.granted();
}

void keep_leased(ObjectStore& run, Usd leased) {
  const nlohmann::json document = {{"version", kVersion}, {"picodollars", leased.picodollars()}};
  run.put(kLeasedObject, as_bytes(document.dump()));
}

Usd parse_leased(std::string_view text) {
  constexpr auto kKind = ErrorKind::kCorrupt;
  const std::string what = "what a driver keeps of its leases";
  try {
    const auto document = parse_small_json(text, what, kKind);
    const JsonReader reader(document, what, kKind, {"version", "picodollars"});
    static_cast<void>(reader.count("version", kVersion, kVersion));
    return Usd::picodollars(static_cast<std::int64_t>(
        reader.count("picodollars", 0, static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))));
  } catch (const Error& error) {
    throw Error(error.kind(), error.what(), "remove it if you know what the run has cost so far");
  }
}

std::optional<Usd> read_leased(const ObjectStore& run) {
  if (!run.exists(kLeasedObject)) return std::nullopt;
  const auto bytes = run.get(kLeasedObject, kMostFileBytes);
  try {
    return parse_leased(as_text(bytes));
  } catch (const Error& error) {
    throw Error(error.kind(), fmt::format("{}/{}: {}", run.uri(), kLeasedObject, error.what()), error.remedy());
  }
}

}  // namespace virga
