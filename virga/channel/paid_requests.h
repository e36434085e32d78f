#pragma once

#include <cstdint>

namespace virga {

/// What a service bills for requests, those that fail or find nothing among them. S3: writes put or list, reads get or
/// head, deletions cost nothing. DynamoDB: capacity units, as it says itself.
struct PaidRequests {
  std::uint64_t writes = 0;
  std::uint64_t reads = 0;
  PaidRequests& operator+=(const PaidRequests& other) noexcept {
    writes += other.writes;
    reads += other.reads;
    return *this;
  }
  bool operator==(const PaidRequests&) const = default;
};

}  // namespace virga
