#include "virga/driver/process.h"

#include <fstream>
#include <iterator>
#include <sstream>

#include <unistd.h>

namespace virga {
namespace {

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// 0 if there is no such process.
std::uint64_t start_ticks(std::int64_t pid) {
  const auto line = first_line("/proc/" + std::to_string(pid) + "/stat");
  // The second field, the program's name in parentheses, may hold anything; the third comes after the last ')'.
  const auto end_of_name = line.rfind(')');
  if (end_of_name == std::string::npos) return 0;
  std::istringstream fields(line.substr(end_of_name + 1));
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  std::uint64_t ticks = 0;
  fields >> ticks;
  return ticks;
}

std::string boot_id() { return first_line("/proc/sys/kernel/random/boot_id"); }

}  // namespace

ProcessIdentity this_process() {
  const std::int64_t pid = ::getpid();
  return {.pid = pid, .start_ticks = start_ticks(pid), .boot = boot_id()};
}

bool is_alive(const ProcessIdentity& process) {
  return process.boot == boot_id() && process.pid > 0 && process.start_ticks != 0 &&
         start_ticks(process.pid) == process.start_ticks;
}

}  // namespace virga
