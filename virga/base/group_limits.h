#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string_view>

namespace virga {

/// What control groups leave a process: the least of its own and of those above them.
struct GroupLimits {
  double cores = HUGE_VAL;  ///< by its quota of processor time
  std::uint64_t memory_bytes = std::numeric_limits<std::uint64_t>::max();
};

/// Of this process. As far as they can be read: in a container perhaps only the container's own.
[[nodiscard]] GroupLimits group_limits();
/// From the text of /proc/self/cgroup; the hierarchies are mounted in `root`, those of the first version by the names
/// of their controllers. What cannot be read or makes no sense limits nothing.
[[nodiscard]] GroupLimits group_limits(const std::filesystem::path& root, std::string_view groups);

}  // namespace virga
