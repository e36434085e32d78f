#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "virga/base/phase_clock.h"
#include "virga/collective/all_reduce.h"
#include "virga/cost/ledger.h"
#include "virga/cost/wall_account.h"

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
  PhaseTimes times;                     ///< of all workers together
  std::vector<DriverStretch> driver;    ///< when the driver itself was at work
  double training_start_seconds = 0;    ///< since the run began: where its history begins
  WallAccount wall;                     ///< what the time of the whole run went to
  std::string sandbox;                  ///< which limits are in force, for people; empty: none
  Ledger ledger;                        ///< what it took, as far as this driver saw it
  std::uint64_t messages_left = 0;      ///< in the channel at the end, before it was swept: of the last rounds
};

/// docs/formats/run-record.md, functions.json. The price is that of builtin_price_table().
[[nodiscard]] nlohmann::json functions_json(const FunctionsReport& report);

}  // namespace virga
