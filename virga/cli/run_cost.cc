#include "virga/cli/run_cost.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "virga/base/units.h"
#include "virga/cli/table.h"
#include "virga/driver/functions_report.h"
#include "virga/driver/train_run.h"

namespace virga {
namespace {

/// A number at `path` of a document that may hold anything.
std::optional<double> number_at(const nlohmann::json& document, const std::string& path) {
  const nlohmann::json::json_pointer pointer(path);
  if (!document.contains(pointer) || !document[pointer].is_number()) return std::nullopt;
  const auto value = document[pointer].get<double>();
  return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

std::string amount_text(const Charge& charge) {
  const bool whole = charge.amount == std::floor(charge.amount) && charge.amount < 1e15;
  return whole ? format_count(static_cast<std::uint64_t>(charge.amount)) : fmt::format("{:.4g}", charge.amount);
}

/// What the driver kept of the run's wall time (wall_account_json).
std::string wall_text(const nlohmann::json& said) {
  const auto total = number_at(said, "/wall/wall_seconds").value_or(0);
  if (total <= 0) return {};
  std::vector<std::string> shares;
  for (const char* part :
       {"start", "input", "compute", "communicate", "wait", "keep", "platform", "lost", "driver", "unaccounted"}) {
    const auto share = 100 * number_at(said, fmt::format("/wall/{}_seconds", part)).value_or(0) / total;
    if (share >= 0.5) shares.push_back(fmt::format("{} {:.0f} %", part, share));
  }
  return fmt::format("{}: {}", format_seconds(total), fmt::join(shares, ", "));
}

std::string by_function(const LedgerSummary& summary, bool with_time) {
  // Virtual machines are billed from their request on; what works on them costs nothing more.
  const bool on_vms = summary.all.vm_usd > Usd();
  std::vector<Table::Column> columns{{"FUNCTION"},   {"STARTED", true}, {"DIED", true}, {"BILLED", true},
                                     {"GB-S", true}, {"USD", true},     {"PEAK", true}};
  if (on_vms) {
    columns[0] = {"ON VMS"};
    columns[3] = {"VM-S", true};
    columns[4] = {"START-UP", true};
  }
  if (with_time) columns.push_back({"TIME"});
  Table table(std::move(columns));
  const auto add = [&](const std::string& name, const InvocationSums& sums) {
    std::vector<std::string> row{
        name,
        format_count(sums.invocations),
        format_count(sums.without_answer),
        format_seconds(on_vms ? sums.vm_seconds : sums.paid_seconds),
        on_vms ? format_seconds(sums.vm_startup_seconds) : fmt::format("{:.4g}", sums.gb_seconds),
        format_usd(sums.usd + sums.vm_usd),
        fmt::format("{:.0f} MB", static_cast<double>(sums.peak_memory_bytes) / 1e6)};
    if (with_time) row.push_back(shares_text(sums.groups));
    table.add(std::move(row));
  };
  for (const auto& [worker, sums] : summary.by_worker) add(fmt::format("worker {}", worker), sums);
  for (const auto& [task, sums] : summary.by_task) {
    if (task != "worker") add(task, sums);
  }
  return table.text();
}

std::size_t widest_line(const std::string& text) {
  std::size_t widest = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const auto end = std::min(text.find('\n', begin), text.size());
    widest = std::max(widest, text_columns(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return widest;
}

}  // namespace

std::optional<RunCost> read_run_cost(const Run& run, const std::optional<PriceTable>& prices) {
  const auto path = ledger_path(run.folder);
  if (!std::filesystem::exists(path)) return std::nullopt;
  RunCost cost{.ledger = read_ledger(path), .prices = prices ? *prices : read_run_prices(run), .summary = {}};
  cost.summary = summarise(cost.ledger, cost.prices);
  const auto said = read_run_functions(run);
  auto functions = parse_functions_record(said);
  cost.training_start_seconds =
      functions.training_start_seconds.value_or(first_worker_seconds(cost.ledger).value_or(0));
  cost.wall_text = wall_text(said);
  cost.wall_seconds = functions.wall_seconds.value_or(last_end_seconds(cost.ledger));
  cost.driver = std::move(functions.driver);
  return cost;
}

std::string shares_text(const GroupSeconds& seconds) {
  double total = 0;
  for (const auto part : seconds) total += part;
  std::vector<std::string> shares;
  for (std::size_t i = 0; i < kTimeGroups; ++i) {
    const auto share = total > 0 ? 100 * seconds[i] / total : 0;
    if (share >= 0.5) shares.push_back(fmt::format("{} {:.0f} %", to_string(static_cast<TimeGroup>(i)), share));
  }
  return fmt::format("{}", fmt::join(shares, ", "));
}

std::string memory_line(const MemoryAdvice& advice, const PriceTable& table) {
  std::string line;
  for (const char c : memory_advice_text(advice, table)) {
    if (c == '\n') line += ' ';
    if (c != '\n' && (c != ' ' || !line.ends_with(' '))) line += c;
  }
  line.resize(line.find_last_not_of(' ') + 1);
  return line;
}

std::string vms_text(const Ledger& ledger, const InvocationSums& sums, const PriceTable& table) {
  if (ledger.vms.empty()) return {};
  return fmt::format(
      "virtual machines: {} of type {}, {} of VM-seconds and {} of start-up ({}: not waited for here, not "
      "verified)",
      ledger.vms.size(), ledger.vms.front().instance, format_seconds(sums.vm_seconds),
      format_seconds(sums.vm_startup_seconds), table.startup.name);
}

std::vector<std::string> cost_lines(const RunCost& cost, const PriceTable& table) {
  const auto& summary = cost.summary;
  const auto& all = summary.all;
  std::vector<std::string> parts;
  for (const auto& charge : summary.bill.charges()) {
    const auto part = fmt::format("{} {}", charge.service, format_usd(summary.bill.of_service(charge.service)));
    if (std::ranges::find(parts, part) == parts.end()) parts.push_back(part);
  }
  std::vector<std::string> lines{
      fmt::format("{}{}{}", would_cost(summary.bill, table), parts.empty() ? "" : ": ", fmt::join(parts, ", "))};
  if (const auto shares = shares_text(all.groups); !shares.empty()) {
    lines.push_back(fmt::format("{}: {} invocations, {} in all: {}", all.vm_usd > Usd() ? "workers" : "functions",
                                format_count(all.invocations), format_seconds(all.seconds), shares));
  }
  if (const auto text = vms_text(cost.ledger, all, table); !text.empty()) lines.push_back(text);
  if (!cost.wall_text.empty()) lines.push_back("time: " + cost.wall_text);
  if (all.without_answer > 0) {
    lines.push_back(fmt::format("{} of {} invocations gave no answer, {} of the cost", format_count(all.without_answer),
                                format_count(all.invocations), format_usd(all.lost_usd)));
  }
  if (summary.memory) {
    lines.push_back(memory_line(*summary.memory, table));
  } else if (all.peak_memory_bytes > 0) {
    lines.push_back(fmt::format("Memory: at most {:.0f} MB were used by a {}",
                                static_cast<double>(all.peak_memory_bytes) / 1e6,
                                cost.ledger.vms.empty() ? "function; a smaller limit would save nothing" : "worker"));
  }
  return lines;
}

std::string cost_tables(const LedgerSummary& summary, const PriceTable& table, std::size_t width) {
  Table services({{"SERVICE"}, {"ITEM"}, {"AMOUNT", true}, {"USD", true}});
  for (const auto& charge : summary.bill.charges()) {
    services.add({charge.service, charge.item, amount_text(charge), format_usd(charge.usd)});
  }
  auto functions = by_function(summary, true);
  if (widest_line(functions) > width) functions = by_function(summary, false);
  return fmt::format("\nThe run {}:\n{}\n{}", would_cost(summary.bill, table), services.text(), functions);
}

}  // namespace virga
