#pragma once

#include <chrono>
#include <cstdint>
#include <string>

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
  std::string said;  ///< the end of its log, if it did not answer
  bool operator==(const InvocationRecord&) const = default;
};

/// A service that worked for the run.
struct ServiceRecord {
  std::string service;  ///< a name of the price table: "data-store", "object-store", "driver"
  double start_seconds = 0;
  double seconds = 0;  ///< that it was there
  std::uint64_t writes = 0, reads = 0, bytes = 0;
  bool operator==(const ServiceRecord&) const = default;
};

}  // namespace virga
