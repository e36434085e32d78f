// A summary as JSON and for people: summary.h.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/units.h"
#include "virga/cost/summary.h"

namespace virga {
namespace {

using nlohmann::json;

constexpr double kMegabyte = 1e6;

json sums_json(const InvocationSums& sums) {
  json groups;
  for (std::size_t i = 0; i < kTimeGroups; ++i) groups[to_string(static_cast<TimeGroup>(i))] = sums.groups[i];
  return {{"invocations", sums.invocations},
          {"invocations_without_answer", sums.without_answer},
          {"invocations_throttled", sums.throttled},
          {"invocation_seconds", sums.seconds},
          {"billed_seconds", sums.paid_seconds},
          {"billed_seconds_without_answer", sums.lost_seconds},
          {"gb_seconds", sums.gb_seconds},
          {"cpu_seconds", sums.cpu_seconds},
          {"peak_memory_bytes", sums.peak_memory_bytes},
          {"rounds", sums.rounds},
          {"messages_put", sums.messages_put},
          {"messages_got", sums.messages_got},
          {"bytes_put", sums.bytes_put},
          {"bytes_got", sums.bytes_got},
          {"time_seconds", groups},
          {"functions_usd", sums.usd.dollars()},
          {"functions_usd_without_answer", sums.lost_usd.dollars()},
          {"vm_seconds", sums.vm_seconds},
          {"vm_startup_seconds", sums.vm_startup_seconds},
          {"vm_usd", sums.vm_usd.dollars()}};
}

json memory_json(const MemoryAdvice& advice) {
  return {{"limit_bytes", advice.limit_bytes},
          {"peak_bytes", advice.peak_bytes},
          {"fitting_bytes", advice.fitting_bytes},
          {"vcpus", advice.vcpus},
          {"fitting_vcpus", advice.fitting_vcpus},
          {"usd", advice.usd.dollars()},
          {"fitting_usd_if_as_fast", advice.fitting_usd.dollars()},
          {"fitting_least_slowdown", advice.least_slowdown},
          {"fitting_least_usd", advice.least_usd.dollars()}};
}

/// "12.3 GB-seconds", "5 requests".
std::string amount_text(const Charge& charge) {
  const bool whole = charge.item == "requests" || charge.item == "writes" || charge.item == "reads";
  return whole ? fmt::format("{} {}", format_count(static_cast<std::uint64_t>(charge.amount)), charge.item)
               : fmt::format("{:.4g} {}", charge.amount, charge.item);
}

}  // namespace

json summary_json(const LedgerSummary& summary, const PriceTable& table, UsdKind kind) {
  auto out = sums_json(summary.all);
  out["usd"] = summary.bill.total().dollars();
  out["usd_kind"] = to_string(kind);
  out["prices"] = {{"name", table.name}, {"region", table.region}, {"date", table.date}, {"source", table.source}};
  auto& bill = out["bill"] = json::array();
  for (const auto& charge : summary.bill.charges()) {
    bill.push_back(
        {{"service", charge.service}, {"item", charge.item}, {"amount", charge.amount}, {"usd", charge.usd.dollars()}});
  }
  auto& workers = out["workers"] = json::array();
  for (const auto& [worker, sums] : summary.by_worker) {
    workers.push_back(sums_json(sums));
    workers.back()["worker"] = worker;
  }
  auto& tasks = out["tasks"] = json::object();
  for (const auto& [task, sums] : summary.by_task) tasks[task] = sums_json(sums);
  out["memory"] = summary.memory ? memory_json(*summary.memory) : json(nullptr);
  return out;
}

std::string summary_text(const LedgerSummary& summary, const PriceTable& table, UsdKind kind) {
  auto text = kind == UsdKind::kEstimated
                  ? fmt::format("Cost: {}\n", would_cost(summary.bill, table))
                  : fmt::format("Cost: {} on {}, reckoned with prices of {}\n", format_usd(summary.bill.total()),
                                platform_of(summary.bill, table), table.date);
  for (const auto& charge : summary.bill.charges()) {
    text += fmt::format("  {:<14} {:>10}  {}\n", charge.service, format_usd(charge.usd), amount_text(charge));
  }
  const auto& all = summary.all;
  if (all.without_answer > 0) {
    text += fmt::format("  {} of {} invocations gave no answer, {} of the above\n", all.without_answer, all.invocations,
                        format_usd(all.lost_usd));
  }
  if (all.throttled > 0) text += fmt::format("  {} invocations were throttled, for nothing\n", all.throttled);
  if (summary.memory) text += memory_advice_text(*summary.memory, table);
  return text;
}

std::string memory_advice_text(const MemoryAdvice& advice, const PriceTable& table) {
  const auto megabytes = [](std::uint64_t bytes) { return static_cast<double>(bytes) / kMegabyte; };
  auto text = fmt::format("Memory: at most {:.0f} MB of {:.0f} MB were used.", megabytes(advice.peak_bytes),
                          megabytes(advice.limit_bytes));
  text += fmt::format(" A limit of {:.0f} MB, which leaves room, would cost {} instead of {} if it were as fast,\n",
                      megabytes(advice.fitting_bytes), format_usd(advice.fitting_usd), format_usd(advice.usd));
  text += fmt::format("  but less memory is also less processor on {}: {:.2f} vCPU instead of {:.2f}", table.name,
                      advice.fitting_vcpus, advice.vcpus);
  if (advice.least_slowdown > 1.005) {
    return text + fmt::format(", so at least {:.1f} times as long and {}.\n", advice.least_slowdown,
                              format_usd(advice.least_usd));
  }
  return text + "; the processor time that was used fits into that, but rounds may take longer.\n";
}

}  // namespace virga
