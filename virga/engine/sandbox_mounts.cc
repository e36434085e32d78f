#include <fcntl.h>
#include <linux/mount.h>
#include <sys/stat.h>

#include "virga/engine/sandbox_init.h"
#include "virga/engine/sandbox_system.h"

namespace virga::sandbox_init {

namespace {

using sandbox_system::call;
using sandbox_system::length;

// Numbers that <sys/mount.h> has too, but that header and <linux/mount.h> cannot both be included.
constexpr unsigned long kReadOnlyFlag = 1;
constexpr unsigned long kNoSetUser = 2;
constexpr unsigned long kNoDevices = 4;
constexpr unsigned long kNoPrograms = 8;
constexpr unsigned long kRemount = 32;

constexpr int kMostMounts = 256;
constexpr const char* kDevices[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};
constexpr int kDeviceCount = 5;

Failure failure(Step step, unsigned detail = 0) noexcept { return {.step = step, .error = errno, .detail = detail}; }

long open_tree(const char* path, unsigned recursive) noexcept {
  return call(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive);
}
bool set_attributes(long tree, const char* path, std::uint64_t set) noexcept {
  mount_attr attributes{};
  attributes.attr_set = set;
  return call(SYS_mount_setattr, tree, path, AT_RECURSIVE | AT_EMPTY_PATH, &attributes, sizeof attributes) == 0;
}
bool move_tree(long tree, const char* path) noexcept {
  return call(SYS_move_mount, tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) == 0;
}

/// Makes the folders above `path`, and `path` itself, as far as they are missing and can be made.
void make_place(const char* path, char kind) noexcept {
  char part[PATH_MAX];
  const auto size = length(path);
  if (size >= sizeof part) return;
  for (std::size_t i = 0; i <= size; ++i) {
    part[i] = path[i];
    if (i == 0 || (path[i] != '/' && path[i] != '\0')) continue;
    part[i] = '\0';
    if (i == size && kind == kReadableFile) {
      call(SYS_mknodat, AT_FDCWD, part, S_IFREG | 0600, 0);
    } else {
      call(SYS_mkdirat, AT_FDCWD, part, 0755);
    }
    part[i] = path[i];
  }
}

char* append(char* to, const char* text) noexcept {
  while (*text != '\0') *to++ = *text++;
  *to = '\0';
  return to;
}
char* append(char* to, std::uint64_t number) noexcept {
  char digits[24];
  int count = 0;
  do digits[count++] = static_cast<char>('0' + number % 10);
  while ((number /= 10) != 0);
  while (count > 0) *to++ = digits[--count];
  *to = '\0';
  return to;
}

Failure cover(const Plan& plan) noexcept {
  if (plan.cover_tmp) {
    char options[80];
    append(append(append(options, "mode=1777,size="), plan.tmp_bytes), ",nr_inodes=1048576");
    if (call(SYS_mount, "tmpfs", "/tmp", "tmpfs", kNoSetUser | kNoDevices, options) != 0) {
      return failure(Step::kCover, 0);
    }
  }
  if (plan.cover_run && call(SYS_mount, "tmpfs", "/run", "tmpfs", kNoSetUser | kNoDevices, "mode=755,size=1m") != 0) {
    return failure(Step::kCover, 1);
  }
  return {};
}

}  // namespace

Failure mount_files(const Plan& plan, const char* mounts) noexcept {
  if (plan.mounts > kMostMounts) return {.step = Step::kPlan, .error = E2BIG};
  // What is to stay as it is, is taken out before everything becomes read-only, and put over it afterwards.
  long devices[kDeviceCount];
  for (int i = 0; i < kDeviceCount; ++i) devices[i] = open_tree(kDevices[i], 0);
  long trees[kMostMounts];
  const char* text = mounts;
  for (unsigned i = 0; i < plan.mounts; ++i, text += length(text) + 1) {
    trees[i] = open_tree(text + 1, AT_RECURSIVE);
    if (trees[i] < 0) return failure(Step::kShow, i);
  }
  constexpr std::uint64_t kHarmless = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  if (!set_attributes(AT_FDCWD, "/", MOUNT_ATTR_RDONLY | kHarmless)) return failure(Step::kReadOnly);
  if (const auto failed = cover(plan); failed.step != Step::kNone) return failed;

  text = mounts;
  for (unsigned i = 0; i < plan.mounts; ++i, text += length(text) + 1) {
    const auto attributes = kHarmless | (text[0] == kWritable ? 0U : MOUNT_ATTR_RDONLY);
    make_place(text + 1, text[0]);
    if (!set_attributes(trees[i], "", attributes) || !move_tree(trees[i], text + 1)) return failure(Step::kShow, i);
    call(SYS_close, trees[i]);
  }
  if (plan.cover_run &&
      call(SYS_mount, nullptr, "/run", nullptr, kRemount | kReadOnlyFlag | kNoSetUser | kNoDevices, nullptr) != 0) {
    return failure(Step::kCover, 1);
  }
  for (int i = 0; i < kDeviceCount; ++i) {
    if (devices[i] < 0) continue;  // not there, so not there for the program either
    if (!move_tree(devices[i], kDevices[i])) return failure(Step::kDevice, static_cast<unsigned>(i));
    call(SYS_close, devices[i]);
  }
  if (plan.namespace_of_processes &&
      call(SYS_mount, "proc", "/proc", "proc", kReadOnlyFlag | kNoSetUser | kNoDevices | kNoPrograms, nullptr) != 0) {
    return failure(Step::kProc);
  }
  return {};
}

}  // namespace virga::sandbox_init
