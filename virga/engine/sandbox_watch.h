#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace virga {

/// Of a process, from the text of /proc/PID/stat.
struct ProcessFacts {
  pid_t pid = 0;
  pid_t parent = 0;
  char state = '?';
  std::uint64_t start = 0;                     ///< ticks since the machine's
  std::chrono::nanoseconds cpu{};              ///< its own
  std::chrono::nanoseconds cpu_of_children{};  ///< of those that it has waited for
};
/// Nothing for a text that is not such a one. Its second field, in parentheses, may hold anything.
[[nodiscard]] std::optional<ProcessFacts> parse_process(std::string_view text);
/// Nothing if there is no such process.
[[nodiscard]] std::optional<ProcessFacts> process_facts(pid_t pid);
/// All that `root` has started, and they in turn; without `root`.
[[nodiscard]] std::vector<ProcessFacts> descendants(pid_t root);

/// Memory that is resident and not a copy of a file. First a sum that is quick to have and too high where a fork's
/// pages are shared; if that is above `limit`, each page is divided by those that share it.
[[nodiscard]] std::uint64_t memory_of(const std::vector<ProcessFacts>& processes, std::uint64_t limit);

}  // namespace virga
