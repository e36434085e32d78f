#include "virga/driver/functions_report.h"

#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/units.h"
#include "virga/cost/summary.h"

namespace virga {

namespace {

constexpr double kMostRecordSeconds = 1e9;
constexpr std::size_t kMostStretches = 10'000;
constexpr std::size_t kMostStretchBytes = 200;
constexpr std::size_t kMostTextBytes = 1000;

std::optional<double> seconds_at(const nlohmann::json& object, const char* name) {
  if (!object.is_object()) return std::nullopt;
  const auto at = object.find(name);
  if (at == object.end() || !at->is_number()) return std::nullopt;
  const auto seconds = at->get<double>();
  if (!(seconds >= 0 && seconds <= kMostRecordSeconds)) return std::nullopt;
  return seconds;
}

std::optional<DriverStretch> stretch_of(const nlohmann::json& one) {
  const auto start = seconds_at(one, "start_seconds");
  const auto length = seconds_at(one, "seconds");
  if (!start || !length || !one.contains("what") || !one["what"].is_string()) return std::nullopt;
  auto what = one["what"].get<std::string>();
  if (what.size() > kMostStretchBytes) return std::nullopt;
  return DriverStretch{std::move(what), *start, *length};
}

StalenessCounts sum_of(const std::map<WorkerId, StalenessCounts>& workers) {
  StalenessCounts sum;
  for (const auto& [worker, counts] : workers) sum += counts;
  return sum;
}

nlohmann::json counts_json(const StalenessCounts& counts) {
  return {{"steps", counts.steps}, {"mean", counts.mean()}, {"most", counts.most}, {"overwritten", counts.overwritten}};
}

/// Null if no worker may compute from what is old.
nlohmann::json staleness_json(const FunctionsReport& report) {
  const auto sum = sum_of(report.staleness);
  if (sum.steps == 0) return nullptr;
  auto all = counts_json(sum);
  all["updates"] = report.updates.written;
  all["lost_updates"] = report.updates.lost;
  auto workers = nlohmann::json::array();
  for (const auto& [worker, counts] : report.staleness) {
    workers.push_back(counts_json(counts));
    workers.back()["worker"] = worker;
  }
  all["workers"] = std::move(workers);
  all["text"] = staleness_text(report);
  return all;
}

}  // namespace

FunctionsRecord parse_functions_record(const nlohmann::json& document) {
  FunctionsRecord record;
  if (!document.is_object()) return record;
  record.training_start_seconds = seconds_at(document, "training_start_seconds");
  if (const auto wall = document.find("wall"); wall != document.end()) {
    record.wall_seconds = seconds_at(*wall, "wall_seconds");
  }
  if (const auto staleness = document.find("staleness"); staleness != document.end() && staleness->is_object()) {
    const auto text = staleness->find("text");
    if (text != staleness->end() && text->is_string()) record.staleness = text->get<std::string>();
    if (record.staleness.size() > kMostTextBytes) record.staleness.clear();
  }
  const auto driver = document.find("driver");
  if (driver == document.end() || !driver->is_array() || driver->size() > kMostStretches) return record;
  for (const auto& one : *driver) {
    auto stretch = stretch_of(one);
    if (!stretch) {
      record.driver.clear();
      return record;
    }
    record.driver.push_back(std::move(*stretch));
  }
  return record;
}

std::string staleness_text(const FunctionsReport& report) {
  const auto sum = sum_of(report.staleness);
  if (sum.steps == 0) return "";
  if (report.updates.written == 0) {
    return fmt::format("steps lacked {:.2f} rounds of others on average, {} at most", sum.mean(), sum.most);
  }
  const auto lost = static_cast<double>(report.updates.lost) / static_cast<double>(report.updates.written);
  return fmt::format("steps were {:.2f} versions old on average, {} at most; {} of {} updates lost ({:.0f} %)",
                     sum.mean(), sum.most, format_count(report.updates.lost), format_count(report.updates.written),
                     100 * lost);
}

nlohmann::json functions_json(const FunctionsReport& report, const PriceTable& prices) {
  auto driver = nlohmann::json::array();
  for (const auto& stretch : report.driver) {
    driver.push_back({{"what", stretch.what}, {"start_seconds", stretch.start_seconds}, {"seconds", stretch.seconds}});
  }
  nlohmann::json seconds;
  for (std::size_t i = 0; i < kWorkPhases; ++i) {
    const auto phase = static_cast<WorkPhase>(i);
    seconds[to_string(phase)] = std::chrono::duration<double>(report.times[phase]).count();
  }
  return {{"views", report.views},
          {"invocations", report.invocations},
          {"invocation_seconds", report.invocation_seconds},
          {"cpu_seconds", report.cpu_seconds},
          {"peak_memory_bytes", report.peak_memory_bytes},
          {"worker_rounds", report.worker_rounds},
          {"messages_put", report.traffic.messages_put},
          {"messages_got", report.traffic.messages_got},
          {"bytes_put", report.traffic.bytes_put},
          {"bytes_got", report.traffic.bytes_got},
          {"retries", report.retries},
          {"phase_seconds", seconds},
          {"staleness", staleness_json(report)},
          {"sandbox", report.sandbox},
          {"training_start_seconds", report.training_start_seconds},
          {"cost", summary_json(summarise(report.ledger, prices), prices, UsdKind::kEstimated)},
          {"wall", wall_account_json(report.wall)},
          {"driver", driver}};
}

}  // namespace virga
