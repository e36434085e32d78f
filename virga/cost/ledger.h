#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "virga/base/phase_clock.h"
#include "virga/base/view.h"

namespace virga {

// What a run took, one record for each invocation and service, as it was metered where it happened.

/// One invocation of a function.
struct InvocationRecord {
  std::string task;                  ///< "worker" or "evaluate"
  WorkerId worker = 0;               ///< of a worker
  Generation generation = 0;         ///< of a worker
  std::uint32_t epoch = 0;           ///< of an evaluation: its snapshot's; 0: where the run was stopped
  std::string end;                   ///< "done", "continue", "superseded", "orphaned", "evaluated", "error", "crashed",
                                     ///< "timeout", "out_of_memory", "throttled", "abandoned"
  double start_seconds = 0;          ///< when it was invoked, since the run began
  double seconds = 0;                ///< from then to its end, as the driver saw it
  std::chrono::microseconds init{};  ///< of a new process; zero: warm, or not said
  std::chrono::microseconds duration{};  ///< as the platform says; zero: not said
  std::chrono::milliseconds billed{};    ///< likewise
  std::uint64_t memory_bytes = 0;        ///< the limit
  std::uint64_t peak_memory_bytes = 0;   ///< zero: not said
  double cpu_seconds = 0;                ///< by the function itself; zero: not said
  std::uint64_t rounds = 0;
  std::uint64_t messages_put = 0, messages_got = 0;
  std::uint64_t bytes_put = 0, bytes_got = 0;
  PhaseTimes phases;
  std::string said;      ///< the end of its log, if it did not answer
  std::string instance;  ///< the type of the virtual machine it worked on, which is paid for apart; empty: a function
  bool operator==(const InvocationRecord&) const = default;
};

/// A service that worked for the run.
struct ServiceRecord {
  std::string service;  ///< a name of the price table, not empty: "data-store", "object-store", "driver"
  double start_seconds = 0;
  double seconds = 0;  ///< that it was there
  std::uint64_t writes = 0, reads = 0, bytes = 0;
  bool operator==(const ServiceRecord&) const = default;
};

/// A virtual machine that was there for a worker, from its request to its end.
struct VmRecord {
  WorkerId worker = 0;
  std::string instance;        ///< its type, a name of the price table, not empty
  double start_seconds = 0;    ///< when it was asked for, since the run began
  double startup_seconds = 0;  ///< that a platform would have taken to start it: reckoned, and never waited for
  double seconds = 0;          ///< that it was there after that, as measured
  bool operator==(const VmRecord&) const = default;
};

/// All that a ledger holds, in the order in which it was written.
struct Ledger {
  std::vector<InvocationRecord> invocations;
  std::vector<ServiceRecord> services;
  std::vector<VmRecord> vms;
  bool operator==(const Ledger&) const = default;
};

/// The latest moment that the ledger knows of, in seconds since the run began; 0 for an empty one.
[[nodiscard]] double last_end_seconds(const Ledger& ledger) noexcept;
/// When the first worker was invoked, likewise.
[[nodiscard]] std::optional<double> first_worker_seconds(const Ledger& ledger) noexcept;

/// One line of a ledger, its newline included (docs/formats/ledger.md); bytes that are not UTF-8 become U+FFFD, of a
/// long `said` the end is kept, and numbers that are not finite or out of bounds become the nearest that is in bounds.
/// Requires a task, an end and a service that the format knows.
[[nodiscard]] std::string ledger_line(const InvocationRecord& record);
[[nodiscard]] std::string ledger_line(const ServiceRecord& record);
[[nodiscard]] std::string ledger_line(const VmRecord& record);

/// Pure. A last line without its newline is left out: its writer died over it. Throws Error(kCorrupt) for all else that
/// is not a line of a ledger, naming the line and what is wrong.
[[nodiscard]] Ledger parse_ledger(std::string_view text);
/// Throws as parse_ledger() and read_file(); kTooLarge above 256 MiB.
[[nodiscard]] Ledger read_ledger(const std::filesystem::path& path);

/// Appends to a ledger file: each line whole, so that a crash leaves at most an unfinished last line, which the next
/// writer removes. Only one writer at a time has the file. For one thread.
class LedgerWriter {
 public:
  /// Creates the file if need be. Throws Error(kIo, kNotFound), kConflict while another writer has it.
  explicit LedgerWriter(const std::filesystem::path& path);
  ~LedgerWriter();
  LedgerWriter(const LedgerWriter&) = delete;
  LedgerWriter& operator=(const LedgerWriter&) = delete;

  /// Throws Error(kIo); the file is then as it was before.
  void add(const InvocationRecord& record) { append(ledger_line(record)); }
  void add(const ServiceRecord& record) { append(ledger_line(record)); }
  void add(const VmRecord& record) { append(ledger_line(record)); }
  /// Waits until all is on the disk. Throws Error(kIo).
  void make_durable();

 private:
  void append(std::string_view line);

  std::filesystem::path path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;  // of whole lines
  bool torn_ = false;       // more than that may be in the file
};

}  // namespace virga
