#include "virga/base/memory.h"

#include <algorithm>
#include <fstream>
#include <string>

#include <malloc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "virga/base/group_limits.h"

namespace virga {

namespace {

/// getrusage() counts what was resident before exec, too: the pages of the process that this one was forked from.
std::uint64_t peak_resident_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::uint64_t kibibytes = 0;
    if (word == "VmHWM:" && status >> kibibytes) return kibibytes * 1024;
  }
  return 0;
}

}  // namespace

std::uint64_t memory_limit() {
  struct sysinfo info {};
  const std::uint64_t limit = ::sysinfo(&info) == 0 ? std::uint64_t{info.totalram} * info.mem_unit : 0;
  return std::min(limit, group_limits().memory_bytes);
}

void keep_freed_memory() noexcept {
  // NOLINTBEGIN(concurrency-mt-unsafe): main() calls this before there are other threads
  ::mallopt(M_MMAP_THRESHOLD, 32 << 20);
  ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
  ::mallopt(M_TOP_PAD, 4 << 20);
  ::mallopt(M_ARENA_MAX, 1);  // arenas of other threads give back what is free, whatever the options say
  // NOLINTEND(concurrency-mt-unsafe)
}

void populate([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t bytes) noexcept {
#ifdef MADV_POPULATE_WRITE
  constexpr std::size_t kWorthIt = std::size_t{1} << 18;
  if (bytes < kWorthIt) return;
  static const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto skipped = (page - reinterpret_cast<std::uintptr_t>(memory) % page) % page;
  static_cast<void>(
      ::madvise(static_cast<std::byte*>(memory) + skipped, (bytes - skipped) / page * page, MADV_POPULATE_WRITE));
#endif
}

ProcessUsage process_usage() noexcept {
  struct rusage usage {};
  if (::getrusage(RUSAGE_SELF, &usage) != 0) return {};
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return {seconds(usage.ru_utime) + seconds(usage.ru_stime), peak_resident_bytes()};
}

void forget_peak_memory() noexcept {
  std::ofstream("/proc/self/clear_refs") << "5";  // proc(5)
}

}  // namespace virga
