#pragma once

#include <cstdint>

namespace virga {

/// Bytes that this process may use: the machine's, or less when its control group (version 2, or 1) says so.
[[nodiscard]] std::uint64_t memory_limit();

/// Keeps memory that is freed for the next buffer, where the system would have to clear its pages anew: for programs
/// whose buffers come and go by the thousand. To be called by main().
void keep_freed_memory() noexcept;

/// What this process has used so far.
struct ProcessUsage {
  double cpu_seconds = 0;               ///< user and system, all threads
  std::uint64_t peak_memory_bytes = 0;  ///< resident
};
[[nodiscard]] ProcessUsage process_usage() noexcept;

/// From now on, process_usage() tells the peak since this call, where the system permits that.
void forget_peak_memory() noexcept;

}  // namespace virga
