#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "virga/base/bytes.h"
#include "virga/base/deadline.h"
#include "virga/base/error.h"
#include "virga/cost/service_use.h"
#include "virga/net/aws_credentials.h"
#include "virga/storage/s3_answers.h"
#include "virga/storage/s3_place.h"

namespace virga {

/// A client of one place (a bucket and a prefix) at S3 or what speaks like it. Each member may be called by several
/// threads at once and returns when all it asked for is done, with many requests under way at a time on connections
/// that are kept. Requests are signed with the SHA-256 of what they carry and bear its CRC-32C, which is looked at
/// again when the service hands it back.
///
/// What fails in passing (503, 429, 5xx, no connection, no answer in time) is tried again after a pause that doubles,
/// with jitter: at most `most_attempts` times, and for as long as the wait allows where the service only asks for
/// patience. Every request leaves what it left when it is repeated. Credentials that have expired are renewed once;
/// when the service says that this machine's clock is wrong, its own is used from then on.
///
/// Errors name the operation, the place, and S3's own words: kUnauthorized, kNotFound (bucket or key), kThrottled,
/// kUnavailable, kDeadlineExceeded, kInterrupted, kTooLarge, kBadData (not an answer of S3), kCorrupt (a wrong checksum
/// or length), kUsage, kUnsupported, kIo. Keys are without the prefix.
class S3Client {
 public:
  struct Options {
    S3Place place;
    std::shared_ptr<AwsCredentials> credentials;
    std::size_t most_under_way = 32;                 ///< requests at a time
    std::chrono::milliseconds attempt_time{20'000};  ///< for an answer, and a second more for each MB
    std::chrono::milliseconds first_pause{50};       ///< from half of it to the whole
    std::chrono::milliseconds longest_pause{5'000};
    unsigned most_attempts = 8;
    std::uint64_t part_bytes = std::uint64_t{16}
                               << 20;  ///< larger objects are put in parts of about that; S3: >= 5 MiB
    unsigned page_objects = 1'000;     ///< that a page of a list has at most
    std::uint64_t seed = 0;            ///< of the jitter
    std::function<std::chrono::system_clock::time_point()> now = std::chrono::system_clock::now;  ///< to sign
  };
  /// Of all calls so far, as S3 bills them.
  struct Counts {
    std::uint64_t writes = 0;   ///< requests that put or list
    std::uint64_t reads = 0;    ///< requests that get or head
    std::uint64_t deletes = 0;  ///< which cost nothing
    std::uint64_t retries = 0;  ///< of all these, after a failure
    std::uint64_t throttled = 0;
    std::uint64_t bytes_sent = 0, bytes_received = 0;  ///< of objects, by requests that were answered
    bool operator==(const Counts&) const = default;
  };
  struct Put {
    std::string key;
    std::vector<ByteView> parts;  ///< of the object, one after the other; stay the caller's
  };
  using OnObject = std::function<void(std::size_t index, Bytes bytes)>;

  explicit S3Client(Options options);
  /// No call is under way any more.
  ~S3Client();
  S3Client(const S3Client&) = delete;
  S3Client& operator=(const S3Client&) = delete;

  /// Each object appears whole or not at all, in any order; throws for the first that could not be stored.
  void put(std::span<const Put> objects, const Wait& wait);
  /// Hands over those that are there, in any order, on the caller's thread once all were asked for. Throws kTooLarge
  /// for one beyond `limit` bytes, of which no more is read.
  void get_all(std::span<const std::string> keys, std::uint64_t limit, const OnObject& on_object, const Wait& wait);
  /// Nothing if it is not there.
  [[nodiscard]] std::optional<Bytes> get(const std::string& key, std::uint64_t limit, const Wait& wait);
  /// Throws kNotFound, kCorrupt if the object ends before that.
  void get_range(const std::string& key, std::uint64_t offset, std::span<std::byte> out, const Wait& wait);
  /// Size in bytes; nothing if it is not there.
  [[nodiscard]] std::optional<std::uint64_t> head(const std::string& key, const Wait& wait);
  /// All whose keys begin with `prefix` and stand before `before` (empty: all), sorted, page by page.
  [[nodiscard]] std::vector<S3Object> list(std::string_view prefix, std::string_view before, const Wait& wait);
  /// Those that are not there are no error.
  void remove(std::span<const std::string> keys, const Wait& wait);

  [[nodiscard]] const S3Place& place() const noexcept;
  [[nodiscard]] Counts counts() const;
  /// What this process has asked of S3 so far, by all its clients, whatever for.
  [[nodiscard]] static ServiceUse used_by_process() noexcept;

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace virga
