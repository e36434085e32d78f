#pragma once

#include <optional>
#include <string>
#include <vector>

#include "virga/cost/summary.h"
#include "virga/cost/wall_account.h"
#include "virga/driver/run_record.h"

namespace virga {

/// What a run on functions took, as its record has it.
struct RunCost {
  Ledger ledger;
  PriceTable prices;                  ///< by which it is reckoned
  LedgerSummary summary;              ///< with them
  double training_start_seconds = 0;  ///< since the run began
  double wall_seconds = 0;            ///< of the run, as far as is known
  std::vector<DriverStretch> driver;  ///< what the drivers did themselves, as far as is known
  std::string wall_text;              ///< "4.55 s: start 1 %, ..., driver 22 %"; empty: the driver did not say
};

/// Nothing for a run that had no functions. By `prices`, or else the run's own. Where the run's driver left no word of
/// its times, they are those of the ledger. Throws Error(kCorrupt, kIo), and kNotFound for what has no price.
[[nodiscard]] std::optional<RunCost> read_run_cost(const Run& run, const std::optional<PriceTable>& prices = {});

/// memory_advice_text() in one line, without its end.
[[nodiscard]] std::string memory_line(const MemoryAdvice& advice, const PriceTable& table);

/// "virtual machines: 2 of type c5.large, ...", one line; empty if there were none.
[[nodiscard]] std::string vms_text(const Ledger& ledger, const InvocationSums& sums, const PriceTable& table);

/// For people at the end of a run, one text a line: dollars and their split, the functions' time, invocations without
/// an answer, memory and what a smaller limit would save.
[[nodiscard]] std::vector<std::string> cost_lines(const RunCost& cost, const PriceTable& table);

/// "start 3 %, compute 61 %, wait 36 %"; empty if there is no time to split.
[[nodiscard]] std::string shares_text(const GroupSeconds& seconds);

/// Tables of dollars by service and item, and of time and dollars by worker; what the time went to is left out if that
/// would take more than `width` columns.
[[nodiscard]] std::string cost_tables(const LedgerSummary& summary, const PriceTable& table, std::size_t width);

}  // namespace virga
