#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "virga/cost/bill.h"

namespace virga {

/// What is known of a run before it begins.
struct RunOutline {
  std::uint32_t workers = 1;
  std::uint64_t memory_bytes = 0;       ///< limit of a worker
  std::chrono::nanoseconds lifetime{};  ///< of an invocation of a worker; above 0
  std::uint64_t early_ends = 0;         ///< most invocations of a worker that end before their lifetime does
  std::uint32_t restarts = 0;           ///< that may come in the place of one invocation; each is another request
  std::uint32_t evaluations = 0;        ///< in all, those that are repeated included
  std::uint32_t evaluations_at_once = 0;
  std::uint64_t evaluation_memory_bytes = 0;
  std::chrono::nanoseconds evaluation_timeout{};
  /// The type of virtual machine of each worker, which is paid for in the place of functions; empty: functions.
  std::string instance;
  double startup_seconds = 0;         ///< of the virtual machines
  std::vector<std::string> services;  ///< that are there all the time, by their names in the price table
  /// Most requests to a service of the price table in a second, of all functions together; for the stores that ask for
  /// them. Empty name: none.
  std::string request_service;
  double writes_per_second = 0;
  double reads_per_second = 0;
  std::optional<std::chrono::nanoseconds> time_limit;  ///< of training
  std::chrono::nanoseconds closing{};                  ///< after which, beyond the time limit, all is over
  std::optional<Usd> budget;
};

struct CostEstimate {
  Bill per_hour;               ///< with all at work all the time; of virtual machines their start is in it
  Usd at_once;                 ///< to be paid even if the run ends at once: smallest times of services, VMs' start
  std::optional<Usd> at_most;  ///< none: neither time nor money is limited
  std::string bound;           ///< of at_most: "time limit" or "budget", whichever is less
};

/// Throws Error(kNotFound) for a service that the table does not have.
[[nodiscard]] CostEstimate estimate_cost(const RunOutline& outline, const PriceTable& table);

/// {"usd_per_hour", "usd_at_most", "usd_bound", "usd_kind": "estimated", ...}; null where there is no bound.
[[nodiscard]] nlohmann::json estimate_json(const CostEstimate& estimate, const PriceTable& table);
/// One or two lines for people.
[[nodiscard]] std::string estimate_text(const CostEstimate& estimate, const PriceTable& table);

}  // namespace virga
