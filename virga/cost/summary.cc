#include "virga/cost/summary.h"

#include <algorithm>
#include <array>

namespace virga {
namespace {

double seconds_of(std::chrono::nanoseconds time) { return std::chrono::duration<double>(time).count(); }

void add(InvocationSums& sums, const InvocationRecord& record, const PriceTable& table) {
  if (record.end == "throttled") {
    ++sums.throttled;
    return;
  }
  const auto paid = paid_time(record, table.functions);
  const auto usd = price(record, table).total();
  ++sums.invocations;
  sums.seconds += record.seconds;
  sums.paid_seconds += seconds_of(paid);
  sums.gb_seconds += gb_seconds(table.functions, record.memory_bytes, paid);
  sums.cpu_seconds += record.cpu_seconds;
  sums.peak_memory_bytes = std::max(sums.peak_memory_bytes, record.peak_memory_bytes);
  sums.rounds += record.rounds;
  sums.messages_put += record.messages_put;
  sums.messages_got += record.messages_got;
  sums.bytes_put += record.bytes_put;
  sums.bytes_got += record.bytes_got;
  const auto groups = group_seconds(record);
  for (std::size_t i = 0; i < kTimeGroups; ++i) sums.groups[i] += groups[i];
  sums.usd += usd;
  if (gave_answer(record)) return;
  ++sums.without_answer;
  sums.lost_seconds += seconds_of(paid);
  sums.lost_usd += usd;
}

void add(InvocationSums& sums, const VmRecord& record, const PriceTable& table) {
  sums.vm_seconds += record.seconds;
  sums.vm_startup_seconds += record.startup_seconds;
  sums.vm_usd += price(record, table).total();
}

/// The limit into which the peak fits; nothing where none is smaller, where some went over theirs, or
/// memory has no price.
std::optional<MemoryAdvice> memory_advice(const Ledger& ledger, const PriceTable& table) {
  MemoryAdvice advice;
  for (const auto& record : ledger.invocations) {
    if (record.task != "worker") continue;
    if (record.end == "out_of_memory" || !record.instance.empty()) return std::nullopt;
    advice.limit_bytes = std::max(advice.limit_bytes, record.memory_bytes);
    advice.peak_bytes = std::max(advice.peak_bytes, record.peak_memory_bytes);
  }
  if (advice.peak_bytes == 0) return std::nullopt;
  constexpr std::uint64_t kMegabyte = 1'000'000;
  const auto& prices = table.functions;
  advice.fitting_bytes = billed_megabytes(prices, advice.peak_bytes + advice.peak_bytes / 10) * kMegabyte;
  if (advice.fitting_bytes >= advice.limit_bytes) return std::nullopt;
  advice.vcpus = vcpus(prices, advice.limit_bytes);
  advice.fitting_vcpus = vcpus(prices, advice.fitting_bytes);

  double paid_seconds = 0;
  double slow_seconds = 0;
  for (const auto& record : ledger.invocations) {
    if (record.task != "worker" || record.end == "throttled") continue;
    const auto paid = paid_time(record, prices);
    // Its processor time does not fit into less than this.
    const std::chrono::duration<double> least(record.cpu_seconds / advice.fitting_vcpus);
    const auto slow = std::max(paid, billed_time(prices, std::chrono::duration_cast<std::chrono::nanoseconds>(least)));
    const auto fitting = std::min(record.memory_bytes, advice.fitting_bytes);
    advice.usd += invocation_price(prices, record.memory_bytes, paid);
    advice.fitting_usd += invocation_price(prices, fitting, paid);
    advice.least_usd += invocation_price(prices, fitting, slow);
    paid_seconds += seconds_of(paid);
    slow_seconds += seconds_of(slow);
  }
  advice.least_slowdown = paid_seconds > 0 ? slow_seconds / paid_seconds : 1;
  return advice;
}

}  // namespace

bool gave_answer(const InvocationRecord& record) noexcept {
  constexpr std::array<std::string_view, 6> kAnswers = {"done",     "continue",  "superseded",
                                                        "orphaned", "evaluated", "error"};
  return std::ranges::find(kAnswers, record.end) != kAnswers.end();
}

std::string_view to_string(TimeGroup group) noexcept {
  constexpr std::array<std::string_view, kTimeGroups> kWords = {"start",       "input", "compute",
                                                                "communicate", "wait",  "keep"};
  return kWords[static_cast<std::size_t>(group)];
}

std::string_view to_string(UsdKind kind) noexcept { return kind == UsdKind::kBilled ? "billed" : "estimated"; }

TimeGroup group_of(WorkPhase phase) noexcept {
  switch (phase) {
    case WorkPhase::kStart:
      return TimeGroup::kStart;
    case WorkPhase::kData:
      return TimeGroup::kInput;
    case WorkPhase::kCompute:
    case WorkPhase::kApply:
      return TimeGroup::kCompute;
    case WorkPhase::kRead:
    case WorkPhase::kEncode:
    case WorkPhase::kSend:
    case WorkPhase::kDecode:
    case WorkPhase::kSum:
      return TimeGroup::kCommunicate;
    case WorkPhase::kWait:
      return TimeGroup::kWait;
    case WorkPhase::kKeep:
      return TimeGroup::kKeep;
  }
  return TimeGroup::kKeep;
}

GroupSeconds group_seconds(const InvocationRecord& record) noexcept {
  GroupSeconds groups{};
  for (std::size_t i = 0; i < kWorkPhases; ++i) {
    const auto phase = static_cast<WorkPhase>(i);
    groups[static_cast<std::size_t>(group_of(phase))] += seconds_of(record.phases[phase]);
  }
  groups[static_cast<std::size_t>(TimeGroup::kStart)] += seconds_of(record.init);
  return groups;
}

LedgerSummary summarise(const Ledger& ledger, const PriceTable& table) {
  LedgerSummary summary;
  for (const auto& record : ledger.invocations) {
    add(summary.all, record, table);
    add(summary.by_task[record.task], record, table);
    if (record.task == "worker") add(summary.by_worker[record.worker], record, table);
  }
  for (const auto& record : ledger.vms) {
    add(summary.all, record, table);
    add(summary.by_task["worker"], record, table);
    add(summary.by_worker[record.worker], record, table);
  }
  summary.bill = price(ledger, table);
  summary.memory = memory_advice(ledger, table);
  return summary;
}

}  // namespace virga
