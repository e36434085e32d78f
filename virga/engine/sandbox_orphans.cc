#include "virga/engine/sandbox_orphans.h"

#include <csignal>

#include <dirent.h>
#include <fcntl.h>

#include "virga/engine/sandbox_system.h"

namespace virga::sandbox_init {

namespace {

using sandbox_system::call;
using sandbox_system::call_again;
using sandbox_system::length;

struct Entry {  // of getdents64
  std::uint64_t inode;
  std::int64_t offset;
  std::uint16_t size;
  std::uint8_t type;
  char name[1];
};

/// The parent in the text of /proc/PID/stat; 0 if there is none. The program's name, which may hold anything, is in
/// parentheses; the last one that closes ends it. Then " STATE PARENT".
long parent_in(const char* text, long size) noexcept {
  long at = size - 1;
  while (at >= 0 && text[at] != ')') --at;
  at += 4;
  if (at < 4) return 0;
  long parent = 0;
  for (; at < size && text[at] >= '0' && text[at] <= '9'; ++at) parent = parent * 10 + (text[at] - '0');
  return parent;
}

long parent_of(long folder, const char* name) noexcept {
  char path[40];
  const auto size = length(name);
  if (size > 20) return 0;
  std::size_t at = 0;
  for (; at < size; ++at) path[at] = name[at];
  for (const char* rest = "/stat"; *rest != '\0'; ++rest) path[at++] = *rest;
  path[at] = '\0';
  const long file = call(SYS_openat, folder, path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  char text[256];
  const long count = call_again(SYS_read, file, text, sizeof text);
  call(SYS_close, file);
  return parent_in(text, count);
}

}  // namespace

void kill_children() noexcept {
  const long self = call(SYS_getpid);
  const long folder = call(SYS_openat, AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  alignas(Entry) char buffer[16 << 10];
  for (;;) {
    const long size = call(SYS_getdents64, folder, buffer, sizeof buffer);
    if (size <= 0) break;
    for (long at = 0; at < size;) {
      const auto* entry = reinterpret_cast<const Entry*>(buffer + at);
      at += entry->size;
      long pid = 0;
      const char* digit = entry->name;
      for (; *digit >= '0' && *digit <= '9'; ++digit) pid = pid * 10 + (*digit - '0');
      if (*digit == '\0' && pid > 1 && parent_of(folder, entry->name) == self) call(SYS_kill, pid, SIGKILL);
    }
  }
  call(SYS_close, folder);
}

}  // namespace virga::sandbox_init
