#include "virga/engine/sandbox_init.h"

#include <csignal>

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "virga/engine/sandbox_orphans.h"
#include "virga/engine/sandbox_system.h"

namespace virga::sandbox_init {

namespace {

using sandbox_system::call;
using sandbox_system::call_again;
using sandbox_system::leave;
using sandbox_system::length;

// Descriptors of an init.
constexpr int kControl = 3;
constexpr int kOutput = 4;
constexpr int kProc = 5;  // /proc as the maker sees it, not read-only
constexpr int kFirstFree = 6;

constexpr std::uint64_t kAllSignals = ~std::uint64_t{0};
constexpr std::size_t kSignalBytes = sizeof kAllSignals;

Failure failure(Step step, unsigned detail = 0) noexcept { return {.step = step, .error = errno, .detail = detail}; }

/// Closes all but the first `count` of `wanted`, which become 3, 4, ...; 0, 1 and 2 become /dev/null.
void keep_only(const int* wanted, int count) noexcept {
  constexpr int kFar = 100;
  for (int i = 0; i < count; ++i) call(SYS_dup3, wanted[i], kFar + i, O_CLOEXEC);
  for (int i = 0; i < count; ++i) call(SYS_dup3, kFar + i, 3 + i, O_CLOEXEC);
  call(SYS_close_range, 3 + count, ~0U, 0);
  const long null = call(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC);
  for (int i = 0; i < 3; ++i) {
    if (null >= 0) {
      call(SYS_dup3, null, i, 0);
    } else {
      call(SYS_close, i);
    }
  }
  if (null >= 3) call(SYS_close, null);
}

bool write_text(int folder, const char* path, const char* text) noexcept {
  const long file = call(SYS_openat, folder, path, O_WRONLY | O_CLOEXEC);
  if (file < 0) return false;
  const bool written = call_again(SYS_write, file, text, length(text)) >= 0;
  const int error = errno;
  call(SYS_close, file);
  errno = error;
  return written;
}

/// One user or group keeps its number.
bool write_map(const char* path, std::uint32_t id) noexcept {
  char digits[16];
  int count = 0;
  do digits[count++] = static_cast<char>('0' + id % 10);
  while ((id /= 10) != 0);
  char text[40];
  int size = 0;
  for (int twice = 0; twice < 2; ++twice) {
    for (int i = count; i-- > 0;) text[size++] = digits[i];
    text[size++] = ' ';
  }
  text[size++] = '1';
  text[size] = '\0';
  return write_text(AT_FDCWD, path, text);
}

bool raise_loopback() noexcept {
  const long socket = call(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return false;
  ifreq interface {};
  interface.ifr_name[0] = 'l';
  interface.ifr_name[1] = 'o';
  interface.ifr_flags = IFF_UP | IFF_RUNNING;
  const bool up = call(SYS_ioctl, socket, SIOCSIFFLAGS, &interface) == 0;
  const int error = errno;
  call(SYS_close, socket);
  errno = error;
  return up;
}

Failure prepare(const ForkRequest& request) noexcept {
  call(SYS_setsid);
  call(SYS_prctl, PR_SET_NAME, "virga-init", 0, 0, 0);
  for (unsigned i = 0; i < request.group_files; ++i) {
    if (!write_text(AT_FDCWD, request.group_file[i], "0")) return failure(Step::kGroup, i);
  }
  if ((request.clone_flags & CLONE_NEWUSER) != 0) {
    write_text(AT_FDCWD, "/proc/self/setgroups", "deny");
    if (!write_map("/proc/self/uid_map", request.user) || !write_map("/proc/self/gid_map", request.group)) {
      return failure(Step::kUser);
    }
  }
  if ((request.clone_flags & CLONE_NEWNET) != 0 && !raise_loopback()) return failure(Step::kLoopback);
  if ((request.clone_flags & CLONE_NEWNS) != 0 &&
      call(SYS_mount, "none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return failure(Step::kPrivateMounts);
  }
  if ((request.clone_flags & CLONE_NEWPID) == 0) call(SYS_prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  // A mount of which a file is open for writing cannot be made read-only, so a copy of the mount is kept instead.
  long proc = call(SYS_open_tree, AT_FDCWD, "/proc", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  if (proc < 0) proc = call(SYS_openat, AT_FDCWD, "/proc", O_PATH | O_CLOEXEC);
  if (proc >= 0 && proc != kProc) {
    call(SYS_dup3, proc, kProc, O_CLOEXEC);
    call(SYS_close, proc);
  }
  // Nobody of the same user looks into the memory that came from the maker.
  call(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
  return {};
}

/// A plan in memory, its strings as exec wants them.
struct Program {
  const Plan* plan = nullptr;
  const char* path = nullptr;
  const char* folder = nullptr;
  const char** arguments = nullptr;
  const char** environment = nullptr;
  const char* mounts = nullptr;
  Failure failure;  // set by the child that shares memory with its init until exec
};

bool read_plan(int file, Program& program) noexcept {
  Plan head;
  if (call_again(SYS_pread64, file, &head, sizeof head, 0) != static_cast<long>(sizeof head)) return false;
  const long address = call(SYS_mmap, nullptr, head.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  if (address == -1) return false;
  auto* bytes = reinterpret_cast<char*>(address);  // NOLINT(performance-no-int-to-ptr): what the kernel returns
  program.plan = reinterpret_cast<const Plan*>(bytes);
  const char* text = bytes + sizeof(Plan);
  const auto next = [&text] {
    const char* at = text;
    text += length(text) + 1;
    return at;
  };
  program.path = next();
  program.folder = next();
  program.arguments = reinterpret_cast<const char**>(bytes + head.pointers);
  program.environment = program.arguments + head.arguments + 1;
  for (unsigned i = 0; i < head.arguments; ++i) program.arguments[i] = next();
  for (unsigned i = 0; i < head.environment; ++i) program.environment[i] = next();
  program.mounts = text;
  return true;
}

/// Makes `host` an address of the loopback interface, if it is none. `number`: each has its own.
bool add_address(unsigned number, std::uint32_t host) noexcept {
  if ((host & 0xff) == IN_LOOPBACKNET) return true;
  const long socket = call(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return false;
  ifreq interface {};
  const char name[] = {'l', 'o', ':', static_cast<char>('0' + number / 10), static_cast<char>('0' + number % 10)};
  __builtin_memcpy(interface.ifr_name, name, sizeof name);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = host;
  __builtin_memcpy(&interface.ifr_addr, &address, sizeof address);
  bool added = call(SYS_ioctl, socket, SIOCSIFADDR, &interface) == 0;
  const bool is_there = !added && errno == EEXIST;
  if (added) {
    address.sin_addr.s_addr = 0xffffffff;  // nobody but this one host
    __builtin_memcpy(&interface.ifr_netmask, &address, sizeof address);
    added = call(SYS_ioctl, socket, SIOCSIFNETMASK, &interface) == 0;
  }
  const int error = errno;
  call(SYS_close, socket);
  errno = error;
  return added || is_there;
}

/// A socket that listens there; -1 if that fails.
long listen_at(std::uint32_t host, std::uint16_t port) noexcept {
  const long socket = call(SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (socket < 0) return -1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = static_cast<in_port_t>((port >> 8) | (port << 8));
  address.sin_addr.s_addr = host;
  if (call(SYS_bind, socket, &address, sizeof address) == 0 && call(SYS_listen, socket, SOMAXCONN) == 0) return socket;
  return -1;
}

bool limit(int what, std::uint64_t most) noexcept {
  rlimit64 now{};
  if (call(SYS_prlimit64, 0, what, nullptr, &now) != 0) return false;
  if (most > now.rlim_max) most = now.rlim_max;
  const rlimit64 wanted{.rlim_cur = most, .rlim_max = most};
  return call(SYS_prlimit64, 0, what, &wanted, nullptr) == 0;
}

/// No capability, now and after any exec. Errors of what only narrows further are of no account.
bool drop_privileges() noexcept {
  call(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  for (int i = 0; i <= 63; ++i) {
    if (call(SYS_prctl, PR_CAPBSET_DROP, i, 0, 0, 0) != 0) break;
  }
  call(SYS_prctl, PR_SET_SECUREBITS,
       SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |
           SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED,
       0, 0, 0);
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  const __user_cap_data_struct none[2] = {};
  return call(SYS_capset, &header, none) == 0 && call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

/// Everything between the second fork and exec; returns only if it fails.
Failure become(const Program& program) noexcept {
  call(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  call(SYS_setsid);
  for (int fd = 1; fd <= 2; ++fd) call(SYS_dup3, kOutput, fd, 0);
  call(SYS_close_range, 3, ~0U, 0);
  if (!limit(RLIMIT_NOFILE, program.plan->most_files) || !limit(RLIMIT_CORE, 0) ||
      (program.plan->most_processes != 0 && !limit(RLIMIT_NPROC, program.plan->most_processes))) {
    return failure(Step::kLimits);
  }
  if (!drop_privileges()) return failure(Step::kPrivileges);
  if (call(SYS_chdir, program.folder) != 0) return failure(Step::kFolder);
  // What the maker's process ignores must not be ignored by the program.
  const unsigned long by_default[4] = {};
  for (int signal = 1; signal <= 64; ++signal) call(SYS_rt_sigaction, signal, by_default, nullptr, kSignalBytes);
  const std::uint64_t no_signals = 0;
  call(SYS_rt_sigprocmask, SIG_SETMASK, &no_signals, nullptr, kSignalBytes);
  call(SYS_execve, program.path, program.arguments, program.environment);
  return failure(Step::kExec);
}

int program_main(void* at) noexcept {
  auto& program = *static_cast<Program*>(at);
  program.failure = become(program);
  leave(127);
}

/// The number of the new process; 0, and program.failure, if there is none. Shares memory with it until exec: no page
/// table is copied.
pid_t start_program(Program& program) noexcept {
  alignas(16) static char stack[64 << 10];
  const int pid = ::clone(program_main, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &program);
  if (pid < 0) program.failure = failure(Step::kClone);
  return pid < 0 || program.failure.step != Step::kNone ? 0 : pid;
}

void tell(const Report& report) noexcept { send_packet(kControl, &report, sizeof report, nullptr, 0, 0); }

[[noreturn]] void tell_failure(Report::Kind kind, Failure failure) noexcept {
  tell({.kind = kind, .failure = failure});
  leave(1);
}

/// Does what `program`'s plan says; its listeners and where they are go to the maker.
pid_t carry_out(Program& program) noexcept {
  const Plan& plan = *program.plan;
  if (plan.namespace_of_files) {
    const auto failed = mount_files(plan, program.mounts);
    if (failed.step != Step::kNone) tell_failure(Report::Kind::kStarted, failed);
  }
  int listeners[kMostListeners];
  for (unsigned i = 0; i < plan.listeners; ++i) {
    const bool there = add_address(i, plan.hosts[i]);
    listeners[i] = there ? static_cast<int>(listen_at(plan.hosts[i], plan.ports[i])) : -1;
    if (listeners[i] < 0) tell_failure(Report::Kind::kStarted, failure(Step::kListen, i));
  }
  const pid_t pid = plan.trial ? 0 : start_program(program);
  if (program.failure.step != Step::kNone) tell_failure(Report::Kind::kStarted, program.failure);
  // If memory runs out, this process is the first to be killed, and all others with it: what is left of a program of
  // which a part was killed is of no use.
  if (plan.namespace_of_processes) write_text(kProc, "self/oom_score_adj", "1000");
  const Report report{.kind = Report::Kind::kStarted, .program = pid};
  send_packet(kControl, &report, sizeof report, listeners, static_cast<int>(plan.listeners),
              plan.namespace_of_processes ? pid : 0);
  call(SYS_close_range, kFirstFree, ~0U, 0);
  call(SYS_close, kOutput);
  if (plan.trial) leave(0);
  return pid;
}

/// Until all other processes of the sandbox are gone.
void end_the_rest(bool namespace_of_processes, pid_t program, int& wait_status) noexcept {
  for (;;) {
    if (namespace_of_processes) {
      call(SYS_kill, -1, SIGKILL);
    } else {
      kill_children();
    }
    int status = 0;
    const long pid = call_again(SYS_wait4, -1, &status, 0, nullptr);
    if (pid < 0) return;
    if (pid == program) wait_status = status;
  }
}

/// Waits for the end of the program, of the maker's interest or of the maker; the program's wait status.
int attend(pid_t program, bool namespace_of_processes) noexcept {
  const std::uint64_t child = std::uint64_t{1} << (SIGCHLD - 1);
  const long signals = call(SYS_signalfd4, -1, &child, kSignalBytes, O_CLOEXEC | O_NONBLOCK);
  int wait_status = SIGKILL;
  for (bool over = false; !over;) {
    pollfd polls[2] = {{.fd = static_cast<int>(signals), .events = POLLIN, .revents = 0},
                       {.fd = kControl, .events = POLLIN, .revents = 0}};
    call_again(SYS_ppoll, polls, 2, nullptr, nullptr, 0);
    char dropped[512];
    while (call(SYS_read, signals, dropped, sizeof dropped) > 0) {
    }
    over = polls[1].revents != 0;
    for (;;) {
      int status = 0;
      const long pid = call(SYS_wait4, -1, &status, WNOHANG, nullptr);
      if (pid <= 0) break;
      if (pid != program) continue;
      wait_status = status;
      over = true;
    }
  }
  end_the_rest(namespace_of_processes, program, wait_status);
  return wait_status;
}

}  // namespace

void run_init(const ForkRequest& request, int control, int output) noexcept {
  const int wanted[] = {control, output};
  keep_only(wanted, 2);
  const auto failed = prepare(request);
  if (failed.step != Step::kNone) tell_failure(Report::Kind::kReady, failed);
  tell({.kind = Report::Kind::kReady});

  char go = 0;
  int file = -1;
  int count = 0;
  if (receive_packet(kControl, &go, sizeof go, &file, 1, &count, nullptr) <= 0 || count == 0) leave(0);
  static Program program;
  if (!read_plan(file, program)) tell_failure(Report::Kind::kStarted, failure(Step::kPlan));
  call(SYS_close, file);
  const pid_t pid = carry_out(program);

  Report report{.kind = Report::Kind::kEnded};
  report.wait_status = attend(pid, program.plan->namespace_of_processes);
  rusage used{};
  call(SYS_getrusage, RUSAGE_CHILDREN, &used);
  report.cpu_ns = static_cast<std::uint64_t>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1'000'000'000 +
                  static_cast<std::uint64_t>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1'000;
  tell(report);
  leave(0);
}

void run_forge(int socket) noexcept {
  const int wanted[] = {socket};
  keep_only(wanted, 1);
  call(SYS_setsid);
  call(SYS_prctl, PR_SET_NAME, "virga-forge", 0, 0, 0);
  for (;;) {
    static ForkRequest request;
    int descriptors[2] = {-1, -1};
    int count = 0;
    const long size = receive_packet(kControl, &request, sizeof request, descriptors, 2, &count, nullptr);
    if (size != static_cast<long>(sizeof request) || count != 2) leave(0);
    const auto flags = static_cast<unsigned long>(request.clone_flags) | CLONE_PARENT | SIGCHLD;
    const long pid = call(SYS_clone, flags, nullptr, nullptr, nullptr, nullptr);
    if (pid == 0) run_init(request, descriptors[0], descriptors[1]);
    const ForkAnswer answer{.pid = pid < 0 ? 0 : static_cast<std::int32_t>(pid), .error = pid < 0 ? errno : 0};
    for (const int descriptor : descriptors) call(SYS_close, descriptor);
    if (!send_packet(kControl, &answer, sizeof answer, nullptr, 0, 0)) leave(0);
  }
}

}  // namespace virga::sandbox_init
