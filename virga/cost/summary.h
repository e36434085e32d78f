#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "virga/cost/bill.h"

namespace virga {

/// What time went to, in the words of the papers: each WorkPhase belongs to one of these.
enum class TimeGroup : std::uint8_t {
  kStart,        ///< the platform's start of a process (init), and WorkPhase start
  kInput,        ///< data
  kCompute,      ///< compute, apply
  kCommunicate,  ///< read, encode, send, decode, sum
  kWait,         ///< wait: for others, and receiving what they sent
  kKeep,         ///< keep: reports, snapshots, checkpoints
};
constexpr std::size_t kTimeGroups = 6;
[[nodiscard]] std::string_view to_string(TimeGroup group) noexcept;  ///< "start", "input", ...
[[nodiscard]] TimeGroup group_of(WorkPhase phase) noexcept;

using GroupSeconds = std::array<double, kTimeGroups>;  ///< by TimeGroup
/// The phases of an invocation and its init.
[[nodiscard]] GroupSeconds group_seconds(const InvocationRecord& record) noexcept;

/// Whether the function itself ended it, and so said what it did.
[[nodiscard]] bool gave_answer(const InvocationRecord& record) noexcept;

/// Sums over invocations.
struct InvocationSums {
  std::uint64_t invocations = 0;
  std::uint64_t without_answer = 0;  ///< ended otherwise: crashed, timeout, out_of_memory, abandoned
  std::uint64_t throttled = 0;       ///< did not begin; not among `invocations`
  double seconds = 0;                ///< as the driver saw them
  double paid_seconds = 0;
  double lost_seconds = 0;  ///< paid, without an answer
  double gb_seconds = 0;
  double cpu_seconds = 0;
  std::uint64_t peak_memory_bytes = 0;
  std::uint64_t rounds = 0, messages_put = 0, messages_got = 0, bytes_put = 0, bytes_got = 0;
  GroupSeconds groups{};
  Usd usd;
  Usd lost_usd;  ///< of `usd`, for those without an answer
  // Of virtual machines, which are paid for apart from the invocations on them:
  double vm_seconds = 0;          ///< after their start
  double vm_startup_seconds = 0;  ///< as reckoned
  Usd vm_usd;
  bool operator==(const InvocationSums&) const = default;
};

/// What a smaller memory limit would save the workers.
struct MemoryAdvice {
  std::uint64_t limit_bytes = 0;    ///< of now, the largest
  std::uint64_t peak_bytes = 0;     ///< that was used, of the function that took most
  std::uint64_t fitting_bytes = 0;  ///< the peak and 10 %, in whole megabytes, at least the platform's smallest
  double vcpus = 0, fitting_vcpus = 0;
  Usd usd, fitting_usd;  ///< if all took as long as it did
  /// With the processor share of the smaller limit: at least this many times as long as it took, by the processor time
  /// used, and at least so dear. 1: the time was not the processor's.
  double least_slowdown = 1;
  Usd least_usd;
  bool operator==(const MemoryAdvice&) const = default;
};

struct LedgerSummary {
  InvocationSums all;
  std::map<WorkerId, InvocationSums> by_worker;   ///< of the task "worker"
  std::map<std::string, InvocationSums> by_task;  ///< "worker", "evaluate"
  Bill bill;                                      ///< services included
  std::optional<MemoryAdvice> memory;             ///< none if a smaller limit would not fit, or nothing is known
  bool operator==(const LedgerSummary&) const = default;
};

/// Throws Error(kNotFound) for a service that the table does not have.
[[nodiscard]] LedgerSummary summarise(const Ledger& ledger, const PriceTable& table);

/// Whether dollars were paid, or would have been.
enum class UsdKind : std::uint8_t { kEstimated, kBilled };
[[nodiscard]] std::string_view to_string(UsdKind kind) noexcept;  ///< "estimated", "billed"

/// {"usd", "usd_kind", "prices", "bill", "invocations", "gb_seconds", "time_seconds", "workers", "tasks", "memory",
/// ...}: docs/cost.md. No NaN.
[[nodiscard]] nlohmann::json summary_json(const LedgerSummary& summary, const PriceTable& table, UsdKind kind);
/// The same for people, a few lines that begin with two spaces but for the first.
[[nodiscard]] std::string summary_text(const LedgerSummary& summary, const PriceTable& table, UsdKind kind);
/// "Memory: at most 61 MB of 708 MB ...", one line or two; empty if nothing would be saved.
[[nodiscard]] std::string memory_advice_text(const MemoryAdvice& advice, const PriceTable& table);

}  // namespace virga
