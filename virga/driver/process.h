#pragma once

#include <cstdint>
#include <string>

namespace virga {

/// One process on one boot of one machine: its number alone may be given to another process later.
struct ProcessIdentity {
  std::int64_t pid = 0;
  std::uint64_t start_ticks = 0;  ///< since boot; field 22 of /proc/<pid>/stat (man 5 proc)
  std::string boot;               ///< /proc/sys/kernel/random/boot_id
  bool operator==(const ProcessIdentity&) const = default;
};

[[nodiscard]] ProcessIdentity this_process();
/// Is that very process alive on this machine? (False for one of another machine that shares the folder.)
[[nodiscard]] bool is_alive(const ProcessIdentity& process);

}  // namespace virga
