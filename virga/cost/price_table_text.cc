// A price table as its file: price_table.h.
#include <nlohmann/json.hpp>

#include "virga/cost/price_table.h"

namespace virga {
namespace {

using nlohmann::json;

json functions_json(const FunctionPrices& prices) {
  return {{"usd_per_gb_second", prices.usd_per_gb_second},
          {"usd_per_request", prices.usd_per_request},
          {"granularity_ms", prices.granularity.count()},
          {"bills_init", prices.bills_init},
          {"mb_per_vcpu", prices.mb_per_vcpu},
          {"smallest_mb", prices.smallest_mb},
          {"largest_mb", prices.largest_mb}};
}

json service_json(const ServicePrices& prices) {
  return {{"usd_per_hour", prices.usd_per_hour},
          {"smallest_seconds", prices.smallest.count()},
          {"usd_per_write", prices.usd_per_write},
          {"usd_per_read", prices.usd_per_read},
          {"usd_per_gb_transferred", prices.usd_per_gb_transferred}};
}

json instances_json(const Instances& instances) {
  auto types = json::object();
  for (const auto& [name, type] : instances.types) {
    types[name] = {{"usd_per_hour", type.rent.usd_per_hour},
                   {"smallest_seconds", type.rent.smallest.count()},
                   {"vcpus", type.vcpus},
                   {"memory_mb", type.memory_mb},
                   {"network_mb_per_second", type.network_mb_per_second},
                   {"network_latency_us", type.network_latency.count()}};
  }
  return {{"name", instances.name}, {"source", instances.source}, {"types", std::move(types)}};
}

json points_json(const std::map<std::uint32_t, double>& points) {
  auto object = json::object();
  for (const auto& [workers, seconds] : points) object[std::to_string(workers)] = seconds;
  return object;
}

}  // namespace

std::string price_table_text(const PriceTable& table) {
  json document = {{"schema_version", 1},
                   {"name", table.name},
                   {"region", table.region},
                   {"currency", "USD"},
                   {"date", table.date},
                   {"source", table.source},
                   {"lambda", functions_json(table.functions)},
                   {"services", json::object()}};
  for (const auto& [name, prices] : table.services) document["services"][name] = service_json(prices);
  if (table.instances != Instances()) document["instances"] = instances_json(table.instances);
  if (table.startup != StartupProfile()) {
    document["startup"] = {{"name", table.startup.name},
                           {"source", table.startup.source},
                           {"functions", points_json(table.startup.functions)},
                           {"machines", points_json(table.startup.machines)}};
  }
  return document.dump(2) + "\n";
}

}  // namespace virga
