#pragma once

#include <cstdint>

namespace virga {

/// What somebody asked of a service that bills requests, and the bytes that went with them.
struct ServiceUse {
  std::uint64_t writes = 0;
  std::uint64_t reads = 0;
  std::uint64_t bytes = 0;
  ServiceUse& operator+=(const ServiceUse& other) noexcept {
    writes += other.writes;
    reads += other.reads;
    bytes += other.bytes;
    return *this;
  }
  /// What was added to `before`.
  [[nodiscard]] ServiceUse since(const ServiceUse& before) const noexcept {
    return {writes - before.writes, reads - before.reads, bytes - before.bytes};
  }
  bool operator==(const ServiceUse&) const = default;
};

}  // namespace virga
