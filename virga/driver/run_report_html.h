#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "virga/cost/ledger.h"
#include "virga/cost/price_table.h"
#include "virga/cost/summary.h"
#include "virga/cost/wall_account.h"
#include "virga/driver/run_record.h"

namespace virga {

/// An evaluation with what had been spent by then.
struct CurvePoint {
  HistoryEntry entry;
  Usd usd;
};

/// The history over dollars. `training_start_seconds`: when training began, since the run began; the times of the
/// history count from there, those of the ledger from the beginning of the run. Throws as Spending.
[[nodiscard]] std::vector<CurvePoint> cost_curve(const std::vector<HistoryEntry>& history, const Ledger& ledger,
                                                 const PriceTable& table, double training_start_seconds);

/// All that the report of a run is made of.
struct ReportInput {
  Run run;
  nlohmann::json config;      ///< read_run_config()
  nlohmann::json test;        ///< read_run_test(); null: none
  nlohmann::json validation;  ///< read_run_validation(); null: none
  Ledger ledger;              ///< empty of a run without functions
  PriceTable table;
  UsdKind usd_kind = UsdKind::kEstimated;
  double training_start_seconds = 0;  ///< since the run began
  double wall_seconds = 0;            ///< of the run; 0: not known
  std::vector<DriverStretch> driver;  ///< what the driver itself did
  std::optional<double> base_loss;    ///< validation loss of the base rate
};

/// A page that stands alone: style and drawings inside, no script, nothing that is loaded, light and dark. Whatever the
/// texts of the run hold (names, classes, log lines), they are shown as text. JSON members that are not what they
/// should be are left out. Throws Error(kNotFound) for a service of the ledger that the prices do not have.
[[nodiscard]] std::string report_html(const ReportInput& input);

}  // namespace virga
