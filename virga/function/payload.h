#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "virga/base/phase_clock.h"
#include "virga/base/view.h"
#include "virga/channel/paid_requests.h"
#include "virga/cost/service_use.h"
#include "virga/cost/usd.h"
#include "virga/exchange/staleness.h"

namespace virga {

/// What an invocation may spend on requests: of its channel's service, and of S3, each write and read in dollars.
struct RequestLease {
  Usd usd;
  double channel_write = 0, channel_read = 0;
  double object_write = 0, object_read = 0;
  bool operator==(const RequestLease&) const = default;
};

/// What an invocation is told; all else it finds at the run's URI. JSON below 64 KiB (docs/formats/payload.md).
struct Payload {
  std::string run;                              ///< URI
  std::string task;                             ///< "worker" or "evaluate"
  Member member;                                ///< worker
  std::uint32_t epoch = 0;                      ///< evaluate: the snapshot's; 0: the one where the run was stopped
  std::chrono::milliseconds lifetime{900'000};  ///< the invocation ends by itself before that
  /// Worker: its answer is also left at the run's URI, answer_object(), for who does not wait for a response.
  bool leaves_answer = false;
  std::optional<RequestLease> requests = {};  ///< none: as many as it wants
  bool operator==(const Payload&) const = default;
};

/// What a worker keeps of its lease for its last round and its checkpoint.
[[nodiscard]] constexpr Usd leaving_margin(const RequestLease& lease) noexcept {
  return Usd::picodollars(lease.usd.picodollars() / 4);
}

/// What a worker keeps of its lifetime for its last round and its checkpoint.
[[nodiscard]] constexpr std::chrono::milliseconds leaving_margin(std::chrono::milliseconds lifetime) noexcept {
  return std::min(lifetime / 4, std::chrono::milliseconds(10'000));
}

constexpr std::size_t kMostPayloadBytes = std::size_t{64} << 10;

[[nodiscard]] std::string encode_payload(const Payload& payload);
/// Throws Error(kBadData), naming what is wrong.
[[nodiscard]] Payload decode_payload(std::string_view text);

/// What an invocation answers: how it ended, or an error.
struct Answer {
  /// What a worker did.
  struct Work {
    std::uint32_t view = 0;  ///< the last in which it worked
    std::uint64_t rounds = 0;
    std::uint64_t messages_put = 0, messages_got = 0;
    std::uint64_t bytes_put = 0, bytes_got = 0;
    PaidRequests paid;          ///< where the channel bills requests
    std::uint64_t retries = 0;  ///< of requests that were made to fail (WorkerJob::faults)
    StalenessCounts staleness;
    PhaseTimes times;
    bool operator==(const Work&) const = default;
  };

  std::string end;             ///< of a worker: to_string(WorkerEnd); of an evaluation: "evaluated"; else "error"
  std::optional<double> loss;  ///< of an evaluation; none if it is not finite
  std::optional<Work> work;    ///< of a worker that ended without an error
  ServiceUse objects;          ///< all that was asked of S3, the channel's requests with it if that is there
  double cpu_seconds = 0;      ///< of the invocation; of the first in a process: and its start
  std::uint64_t peak_memory_bytes = 0;
  std::string error_kind, message, remedy;
  bool operator==(const Answer&) const = default;
};
[[nodiscard]] std::string encode_answer(const Answer& answer);
/// Throws Error(kCorrupt).
[[nodiscard]] Answer decode_answer(std::string_view text);

}  // namespace virga
