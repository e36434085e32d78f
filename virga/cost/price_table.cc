#include "virga/cost/price_table.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <functional>
#include <iterator>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/base/units.h"
#include "virga/cost/json_reader.h"

namespace virga {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMostFileBytes = 1 << 20;
constexpr std::size_t kMostServices = 64;
constexpr std::size_t kMostPoints = 64;
constexpr double kMostStartup = 86400;
constexpr double kMostUsdPerHour = 1e4;     // and
constexpr double kMostUsdPerRequest = 1e2;  // beyond which a figure is a slip
constexpr std::uint64_t kMegabyte = 1'000'000;
constexpr double kMegabytesPerGb = 1024;

constexpr BuiltinPrices kBuiltin[] = {
#include "virga/cost/price_files.inc"
};

bool is_date(std::string_view text) {
  const auto digits = [&](std::size_t from, std::size_t count) {
    return std::ranges::all_of(text.substr(from, count), [](char c) { return c >= '0' && c <= '9'; });
  };
  if (text.size() != 10 || text[4] != '-' || text[7] != '-') return false;
  if (!digits(0, 4) || !digits(5, 2) || !digits(8, 2)) return false;
  const auto number = [&](std::size_t at) { return (text[at] - '0') * 10 + (text[at + 1] - '0'); };
  return number(5) >= 1 && number(5) <= 12 && number(8) >= 1 && number(8) <= 31;
}

FunctionPrices read_functions(const json& object, const std::string& what) {
  const JsonReader fields(object, what, ErrorKind::kUsage,
                          {"usd_per_gb_second", "usd_per_request", "granularity_ms", "bills_init", "mb_per_vcpu",
                           "smallest_mb", "largest_mb"});
  FunctionPrices prices;
  prices.usd_per_gb_second = fields.real("usd_per_gb_second", kMostUsdPerRequest);
  prices.usd_per_request = fields.real("usd_per_request", kMostUsdPerRequest);
  prices.granularity = std::chrono::milliseconds(fields.count("granularity_ms", 1, 3'600'000));
  prices.bills_init = fields.flag("bills_init");
  prices.mb_per_vcpu = fields.count("mb_per_vcpu", 1, 1 << 20);
  prices.smallest_mb = fields.count("smallest_mb", 1, 1 << 20);
  prices.largest_mb = fields.count("largest_mb", prices.smallest_mb, 1 << 20);
  return prices;
}

ServicePrices read_service(const json& object, const std::string& what) {
  const JsonReader fields(
      object, what, ErrorKind::kUsage,
      {"usd_per_hour", "smallest_seconds", "usd_per_write", "usd_per_read", "usd_per_gb_transferred"});
  ServicePrices prices;
  prices.usd_per_hour = fields.real("usd_per_hour", kMostUsdPerHour);
  prices.smallest = std::chrono::seconds(fields.count("smallest_seconds", 0, 86400));
  prices.usd_per_write = fields.real("usd_per_write", kMostUsdPerRequest);
  prices.usd_per_read = fields.real("usd_per_read", kMostUsdPerRequest);
  prices.usd_per_gb_transferred = fields.real("usd_per_gb_transferred", kMostUsdPerRequest);
  return prices;
}

Instance read_instance(const json& object, const std::string& what) {
  const JsonReader fields(
      object, what, ErrorKind::kUsage,
      {"usd_per_hour", "smallest_seconds", "vcpus", "memory_mb", "network_mb_per_second", "network_latency_us"});
  Instance instance;
  instance.rent.usd_per_hour = fields.real("usd_per_hour", kMostUsdPerHour);
  instance.rent.smallest = std::chrono::seconds(fields.count("smallest_seconds", 0, 86400));
  instance.vcpus = fields.count("vcpus", 1, 4096);
  instance.memory_mb = fields.count("memory_mb", 1, std::uint64_t{1} << 30);
  instance.network_mb_per_second = fields.real("network_mb_per_second", 1e9);
  instance.network_latency = std::chrono::microseconds(fields.count("network_latency_us", 0, 60'000'000));
  return instance;
}

/// Each entry of an object, by its name; no more than there may be.
void read_named(const JsonReader& fields, const char* member, std::size_t most,
                const std::function<void(const std::string& name, const json& value)>& read) {
  const auto& object = fields.object(member);
  if (object.size() > most) fields.refuse(member, fmt::format("are more than {}", most));
  for (const auto& [name, value] : object.items()) {
    if (name.empty() || name.size() > 64) fields.refuse(member, "have a name that is empty or above 64 bytes");
    read(name, value);
  }
}

Instances read_instances(const json& object, const std::string& what) {
  const JsonReader fields(object, what, ErrorKind::kUsage, {"name", "source", "types"});
  Instances instances{.name = fields.text("name", 1, 64), .source = fields.text("source", 1, 1024), .types = {}};
  read_named(fields, "types", kMostServices, [&](const std::string& name, const json& type) {
    instances.types[name] = read_instance(type, fields.path("types." + name));
  });
  return instances;
}

std::map<std::uint32_t, double> read_points(const JsonReader& fields, const char* member) {
  std::map<std::uint32_t, double> points;
  read_named(fields, member, kMostPoints, [&](const std::string& name, const json& seconds) {
    std::uint32_t workers = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), workers);
    if (error != std::errc() || end != name.data() + name.size() || workers == 0) {
      fields.refuse(member, "must be like {\"10\": 1.2}: seconds by the number of workers");
    }
    if (!seconds.is_number() || !(seconds.get<double>() >= 0 && seconds.get<double>() <= kMostStartup)) {
      fields.refuse(member, fmt::format("must be seconds from 0 to {:g}", kMostStartup));
    }
    points[workers] = seconds.get<double>();
  });
  return points;
}

StartupProfile read_startup(const json& object, const std::string& what) {
  const JsonReader fields(object, what, ErrorKind::kUsage, {"name", "source", "functions", "machines"});
  return {.name = fields.text("name", 1, 64),
          .source = fields.text("source", 1, 1024),
          .functions = read_points(fields, "functions"),
          .machines = read_points(fields, "machines")};
}

}  // namespace

PriceTable parse_price_table(std::string_view json_text, const std::string& what) {
  auto document = parse_small_json(json_text, what, ErrorKind::kUsage);
  // Before its members: those of another version may be others.
  if (const auto version = document.is_object() ? document.value("schema_version", json()) : json(); version != 1) {
    throw Error(ErrorKind::kUsage, fmt::format("{}: schema_version is not 1, the one that this program reads", what),
                "examples/prices/aws-us-east-1.json is a table that it reads");
  }
  // A table may have none of these.
  json instances, startup;
  for (const auto& [name, taken] : {std::pair{"instances", &instances}, {"startup", &startup}}) {
    if (!document.contains(name)) continue;
    *taken = std::move(document[name]);
    document.erase(name);
  }
  const JsonReader fields(document, what, ErrorKind::kUsage,
                          {"schema_version", "name", "region", "currency", "date", "source", "lambda", "services"});
  PriceTable table;
  table.name = fields.text("name", 1, 64);
  table.region = fields.text("region", 0, 64);
  if (fields.text("currency", 0, 8) != "USD") fields.refuse("currency", "must be \"USD\", the only one that is known");
  table.date = fields.text("date", 0, 64);
  if (!is_date(table.date)) fields.refuse("date", "must be a day like \"2025-08-01\"");
  table.source = fields.text("source", 1, 1024);
  table.functions = read_functions(fields.object("lambda"), fields.path("lambda"));
  read_named(fields, "services", kMostServices, [&](const std::string& name, const json& prices) {
    table.services[name] = read_service(prices, fields.path("services." + name));
  });
  if (!instances.is_null()) table.instances = read_instances(instances, fields.path("instances"));
  if (!startup.is_null()) table.startup = read_startup(startup, fields.path("startup"));
  return table;
}

PriceTable load_price_table(const std::filesystem::path& path) {
  const auto bytes = read_file(path, kMostFileBytes);
  return parse_price_table(as_text(bytes), path.string());
}

std::span<const BuiltinPrices> builtin_prices() noexcept { return kBuiltin; }

const PriceTable& builtin_price_table() {
  static const auto kTable = parse_price_table(kBuiltin[0].text, "the built-in price table");
  return kTable;
}

bool is_price_file(std::string_view text) noexcept {
  return text.find('/') != std::string_view::npos || text.ends_with(".json");
}

void check_price_name(std::string_view text) {
  if (is_price_file(text) || std::ranges::find(kBuiltin, text, &BuiltinPrices::name) != std::end(kBuiltin)) return;
  std::vector<std::string> names;
  for (const auto& builtin : kBuiltin) names.emplace_back(builtin.name);
  const auto near = nearest_word(text, names);
  throw Error(ErrorKind::kUsage,
              fmt::format("there is no price table '{}' in this program, only {}", text, fmt::join(names, ", ")),
              near.empty() ? fmt::format("of one of your own, name the file: ./{}.json", text)
                           : fmt::format("did you mean {}?", near));
}

PriceTable find_price_table(const std::string& name_or_file) {
  check_price_name(name_or_file);
  const auto* const found = std::ranges::find(kBuiltin, name_or_file, &BuiltinPrices::name);
  if (found == kBuiltin) return builtin_price_table();
  if (found != std::end(kBuiltin)) return parse_price_table(found->text, fmt::format("prices {}", found->name));
  return load_price_table(name_or_file);
}

std::uint64_t billed_megabytes(const FunctionPrices& prices, std::uint64_t memory_bytes) noexcept {
  return std::max(prices.smallest_mb, memory_bytes / kMegabyte + (memory_bytes % kMegabyte != 0 ? 1 : 0));
}

std::chrono::milliseconds billed_time(const FunctionPrices& prices, std::chrono::nanoseconds time) noexcept {
  const auto exact = std::chrono::ceil<std::chrono::milliseconds>(std::max(time, std::chrono::nanoseconds(0)));
  return (exact + prices.granularity - std::chrono::milliseconds(1)) / prices.granularity * prices.granularity;
}

double gb_seconds(const FunctionPrices& prices, std::uint64_t memory_bytes, std::chrono::milliseconds billed) noexcept {
  const auto megabytes = static_cast<double>(billed_megabytes(prices, memory_bytes));
  return megabytes / kMegabytesPerGb * static_cast<double>(billed.count()) / 1000;
}

double vcpus(const FunctionPrices& prices, std::uint64_t memory_bytes) noexcept {
  return static_cast<double>(billed_megabytes(prices, memory_bytes)) / static_cast<double>(prices.mb_per_vcpu);
}

Usd invocation_price(const FunctionPrices& prices, std::uint64_t memory_bytes, std::chrono::milliseconds billed) {
  return bounded_usd(gb_seconds(prices, memory_bytes, billed) * prices.usd_per_gb_second) +
         bounded_usd(prices.usd_per_request);
}

const ServicePrices& service_prices(const PriceTable& table, const std::string& service) {
  const auto found = table.services.find(service);
  if (found != table.services.end()) return found->second;
  std::vector<std::string> names;
  for (const auto& [name, prices] : table.services) names.push_back(name);
  throw Error(ErrorKind::kNotFound,
              fmt::format("the prices of {} of {} have none for the service '{}', only for: {}", table.name, table.date,
                          service, fmt::join(names, ", ")),
              "add it to the price table under services");
}

const Instance& find_instance(const PriceTable& table, const std::string& type) {
  const auto found = table.instances.types.find(type);
  if (found != table.instances.types.end()) return found->second;
  std::vector<std::string> names;
  for (const auto& [name, instance] : table.instances.types) names.push_back(name);
  throw Error(ErrorKind::kNotFound,
              fmt::format("the prices of {} of {} have no type of virtual machine '{}', only: {}", table.name,
                          table.date, type, fmt::join(names, ", ")),
              "add it to the price table under instances");
}

double startup_seconds(const std::map<std::uint32_t, double>& points, std::uint32_t workers) noexcept {
  if (points.empty()) return 0;
  const auto above = points.lower_bound(workers);
  if (above == points.begin()) return above->second;
  const auto below = std::prev(above);
  if (above == points.end()) return below->second;
  const double part = static_cast<double>(workers - below->first) / static_cast<double>(above->first - below->first);
  return below->second + part * (above->second - below->second);
}

Usd service_time_price(const ServicePrices& prices, double seconds) {
  if (!(seconds > 0)) return {};
  const auto billed = std::max(std::ceil(seconds), static_cast<double>(prices.smallest.count()));
  return bounded_usd(prices.usd_per_hour * billed / 3600);
}

Usd service_use_price(const ServicePrices& prices, const ServiceUse& use) {
  const auto times = [](std::uint64_t count, double usd) { return bounded_usd(static_cast<double>(count) * usd); };
  return times(use.writes, prices.usd_per_write) + times(use.reads, prices.usd_per_read) +
         bounded_usd(static_cast<double>(use.bytes) / 1e9 * prices.usd_per_gb_transferred);
}

Usd bounded_usd(double dollars) { return Usd::of(std::clamp(dollars, 0.0, Usd::most().dollars())); }

}  // namespace virga
