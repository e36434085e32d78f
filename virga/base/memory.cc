#include "virga/base/memory.h"

#include <algorithm>
#include <fstream>

#include <sys/sysinfo.h>

namespace virga {

std::uint64_t memory_limit() {
  struct sysinfo info {};
  std::uint64_t limit = ::sysinfo(&info) == 0 ? std::uint64_t{info.totalram} * info.mem_unit : 0;
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::uint64_t bytes = 0;
    if (std::ifstream(path) >> bytes && bytes > 0) limit = std::min(limit, bytes);
  }
  return limit;
}

}  // namespace virga
