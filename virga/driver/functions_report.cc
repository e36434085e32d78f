#include "virga/driver/functions_report.h"

#include <nlohmann/json.hpp>

#include "virga/cost/price_table.h"
#include "virga/cost/summary.h"

namespace virga {

nlohmann::json functions_json(const FunctionsReport& report) {
  const auto& prices = builtin_price_table();
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
          {"phase_seconds", seconds},
          {"sandbox", report.sandbox},
          {"training_start_seconds", report.training_start_seconds},
          {"cost", summary_json(summarise(report.ledger, prices), prices, UsdKind::kEstimated)},
          {"wall", wall_account_json(report.wall)},
          {"driver", driver}};
}

}  // namespace virga
