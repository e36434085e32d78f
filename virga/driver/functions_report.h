#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "virga/base/phase_clock.h"
#include "virga/base/view.h"
#include "virga/channel/paid_requests.h"
#include "virga/collective/all_reduce.h"
#include "virga/cost/ledger.h"
#include "virga/cost/price_table.h"
#include "virga/cost/wall_account.h"
#include "virga/exchange/staleness.h"

namespace virga {

/// What a run on functions took besides training; all that its functions said themselves is missing of those that died.
struct FunctionsReport {
  std::uint32_t views = 0;
  std::uint64_t invocations = 0;
  double invocation_seconds = 0;  ///< from being started to their end, of all together
  double cpu_seconds = 0;
  std::uint64_t peak_memory_bytes = 0;  ///< of the function that took most
  std::uint64_t worker_rounds = 0;      ///< completed, of all workers together
  Traffic traffic;                      ///< of all workers together
  PaidRequests paid;                    ///< of all workers together, where their channel bills requests
  std::uint64_t retries = 0;            ///< of all workers together: Answer::Work::retries
  PhaseTimes times;                     ///< of all workers together
  std::vector<DriverStretch> driver;    ///< when the driver itself was at work, and those before it
  double training_start_seconds = 0;    ///< since the run began: where its history begins
  WallAccount wall;                     ///< what the time of the whole run went to
  std::string sandbox;                  ///< which limits are in force, for people; empty: none
  Ledger ledger;                        ///< what it took, as far as this driver saw it
  std::uint64_t messages_left = 0;      ///< in the channel at the end, before it was swept: of the last rounds

  // Of protocols whose workers may compute from what is old:
  std::map<WorkerId, StalenessCounts> staleness;  ///< of each worker
  UpdateCounts updates;                           ///< ASP: of all workers together
};

/// docs/formats/run-record.md, functions.json.
[[nodiscard]] nlohmann::json functions_json(const FunctionsReport& report, const PriceTable& prices);

/// For people: how old what steps were computed from was, and how many updates were lost; empty where neither can be.
[[nodiscard]] std::string staleness_text(const FunctionsReport& report);

/// What is needed of functions.json again, by who shows it and by the next driver of the run.
struct FunctionsRecord {
  std::vector<DriverStretch> driver;
  std::optional<double> training_start_seconds;
  std::optional<double> wall_seconds;
  std::string staleness;  ///< staleness_text()
};
/// What is missing, or is not what functions_json() writes, is left out; times are 0 to 10^9 seconds.
[[nodiscard]] FunctionsRecord parse_functions_record(const nlohmann::json& document);

}  // namespace virga
