#include "virga/base/group_limits.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

namespace virga {
namespace {

namespace fs = std::filesystem;

template <typename T>
bool read(const fs::path& path, T& value) {
  return static_cast<bool>(std::ifstream(path) >> value);
}

void lower_by_second_version(const fs::path& group, GroupLimits& limits) {
  std::ifstream cpu(group / "cpu.max");
  double quota = 0, period = 0;
  if (cpu >> quota >> period && quota > 0 && period > 0) limits.cores = std::min(limits.cores, quota / period);
  std::uint64_t bytes = 0;
  if (read(group / "memory.max", bytes) && bytes > 0) limits.memory_bytes = std::min(limits.memory_bytes, bytes);
}

void lower_by_first_version(const fs::path& group, GroupLimits& limits) {
  double quota = 0, period = 0;
  if (read(group / "cpu.cfs_quota_us", quota) && read(group / "cpu.cfs_period_us", period) && quota > 0 && period > 0) {
    limits.cores = std::min(limits.cores, quota / period);
  }
  std::uint64_t bytes = 0;
  if (read(group / "memory.limit_in_bytes", bytes) && bytes > 0) {
    limits.memory_bytes = std::min(limits.memory_bytes, bytes);
  }
}

/// Calls visit(folder) for the group `path` of the hierarchy that is mounted at `mount`, and for those above it but the
/// root.
template <typename Visit>
void for_each_group(const fs::path& mount, std::string_view path, const Visit& visit) {
  auto group = fs::path("/" + std::string(path)).lexically_normal();
  for (; group.has_relative_path(); group = group.parent_path()) visit(mount / group.relative_path());
}

}  // namespace

GroupLimits group_limits(const fs::path& root, std::string_view groups) {
  GroupLimits limits;
  // The roots: in a container that sees its own groups only, what counts is there, whatever the text says.
  lower_by_second_version(root, limits);
  for (const auto* controller : {"cpu", "memory"}) lower_by_first_version(root / controller, limits);
  std::istringstream lines{std::string(groups)};
  for (std::string line; std::getline(lines, line);) {  // NUMBER:CONTROLLERS:PATH
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const auto path = std::string_view(line).substr(second + 1);
    std::istringstream controllers(line.substr(first + 1, second - first - 1));
    if (second == first + 1) {
      for_each_group(root, path, [&](const fs::path& group) { lower_by_second_version(group, limits); });
    }
    for (std::string controller; std::getline(controllers, controller, ',');) {
      if (controller != "cpu" && controller != "memory") continue;
      for_each_group(root / controller, path, [&](const fs::path& group) { lower_by_first_version(group, limits); });
    }
  }
  return limits;
}

GroupLimits group_limits() {
  std::ostringstream groups;
  if (std::ifstream file("/proc/self/cgroup"); file) groups << file.rdbuf();
  return group_limits("/sys/fs/cgroup", groups.str());
}

}  // namespace virga
