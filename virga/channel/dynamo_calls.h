#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "virga/base/deadline.h"
#include "virga/channel/dynamo_place.h"
#include "virga/channel/paid_requests.h"
#include "virga/net/aws_credentials.h"

namespace virga {

struct DynamoRequest {
  const char* operation = "";  ///< "PutItem"
  std::string body;            ///< JSON
  bool may_repeat = true;      ///< though it may have taken place
};
struct DynamoAnswer {
  std::string body;               ///< JSON
  bool condition_failed = false;  ///< nothing was written; there is no body
};

/// Sends requests to DynamoDB's JSON interface, signed, many at a time, and repeats them, on a thread of its own. Any
/// thread may call any member.
///
/// What fails in passing (throttling, 5xx, no connection, no answer in time) is tried again after a pause that doubles,
/// with jitter: at most `most_attempts` times, and for as long as the wait allows where the service only asks for
/// patience. Credentials that have expired are renewed once.
///
/// Errors name the operation, the table and the service's own words: kUnauthorized, kNotFound (no such table, and how
/// to make it), kThrottled, kUnavailable, kDeadlineExceeded, kInterrupted, kTooLarge, kUsage for what the service does
/// not understand.
class DynamoCalls {
 public:
  struct Options {
    DynamoPlace place;
    std::shared_ptr<AwsCredentials> credentials;
    std::size_t most_under_way = 16;                 ///< requests at a time, of one call
    std::chrono::milliseconds attempt_time{10'000};  ///< for an answer, and a second more for each MB
    std::chrono::milliseconds first_pause{20};       ///< from half of it to the whole
    std::chrono::milliseconds longest_pause{2'000};
    unsigned most_attempts = 8;
    std::uint64_t seed = 0;                                                                       ///< of the jitter
    std::function<std::chrono::system_clock::time_point()> now = std::chrono::system_clock::now;  ///< to sign
  };
  /// Of all calls so far.
  struct Counts {
    std::uint64_t requests = 0;
    std::uint64_t retries = 0;    ///< of all these, after a failure
    std::uint64_t throttled = 0;  ///< requests that were, and items that were left undone
    PaidRequests units;           ///< of capacity, as the service says: each request's rounded up
    bool operator==(const Counts&) const = default;
  };

  explicit DynamoCalls(Options options);
  ~DynamoCalls();
  DynamoCalls(const DynamoCalls&) = delete;
  DynamoCalls& operator=(const DynamoCalls&) = delete;

  /// An answer for each request, in order, when all are there. If one fails for good it throws, when none is under way
  /// any more.
  [[nodiscard]] std::vector<DynamoAnswer> perform(std::span<const DynamoRequest> requests, const Wait& wait);
  [[nodiscard]] DynamoAnswer perform(DynamoRequest request, const Wait& wait);

  /// Sleeps before what the service has left undone is asked for once more, the longer the more often. Throws
  /// kThrottled, or kInterrupted, if the wait is over then.
  void pause_before(unsigned attempt, std::size_t left_undone, const Wait& wait);

  [[nodiscard]] const Options& options() const noexcept;
  [[nodiscard]] Counts counts() const;

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace virga
