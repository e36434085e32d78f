#pragma once

#include <cstdint>

#include <limits.h>
#include <sys/types.h>

/// What happens inside a sandbox, on the other side of a fork. Three processes are involved:
///
///   forge     forked once by a SandboxMaker; forks one init per sandbox, as a child of the maker's process. So the
///             maker may grow and have threads: no sandbox pays for a copy of its pages, or keeps old ones alive.
///   init      joins the control groups, sets the namespaces up and starts the program; is process 1 of the process
///             namespace; reaps orphans; ends what is left once the program has ended or its owner has gone.
///   program   the only one of them that calls exec.
///
/// Forge and init make system calls only (sandbox_system.h). All messages are one packet of a SOCK_SEQPACKET pair.
namespace virga::sandbox_init {

inline constexpr int kMostGroups = 4;
inline constexpr int kMostListeners = 64;
inline constexpr std::size_t kMostPathBytes = 1024;

/// Where something failed inside; also what SandboxMaker tries out.
enum class Step : std::uint32_t {
  kNone,
  kClone,
  kUser,
  kGroup,  ///< detail: its index
  kLoopback,
  kPrivateMounts,
  kReadOnly,
  kCover,  ///< detail: 0 /tmp, 1 /run
  kShow,   ///< detail: index of the mount
  kDevice,
  kProc,
  kListen,  ///< detail: index of the listener
  kPlan,
  kLimits,
  kPrivileges,
  kFolder,
  kExec,
};
struct Failure {
  Step step = Step::kNone;
  std::int32_t error = 0;
  std::uint32_t detail = 0;
};

/// Maker to forge, with the init's end of the control socket and the end of the output pipe that is written to.
struct ForkRequest {
  std::uint64_t clone_flags = 0;
  std::uint32_t user = 0;  ///< who it is outside, for a user namespace
  std::uint32_t group = 0;
  std::uint32_t group_files = 0;
  char group_file[kMostGroups][kMostPathBytes] = {};  ///< "cgroup.procs" of the groups to join
};
/// Forge to maker: the init's number, or the error of clone().
struct ForkAnswer {
  std::int32_t pid = 0;
  std::int32_t error = 0;
};

/// Maker to init, with a memory file that holds this and after it, in this order, strings with a final 0 each: program,
/// folder, arguments (the first one is the program's name), environment, mounts (their first character is the kind).
struct Plan {
  std::uint64_t bytes = 0;     ///< of the file
  std::uint64_t pointers = 0;  ///< offset of room for the pointers to arguments and environment, with a null after each
  std::uint32_t arguments = 0;
  std::uint32_t environment = 0;
  std::uint32_t mounts = 0;
  std::uint32_t listeners = 0;
  std::uint16_t ports[kMostListeners] = {};
  std::uint32_t hosts[kMostListeners] = {};  ///< IPv4 numbers, the first byte being the lowest
  std::uint64_t most_files = 0;
  std::uint64_t most_processes = 0;  ///< by rlimit; 0: not so
  std::uint64_t tmp_bytes = 0;
  bool namespace_of_files = false;
  bool namespace_of_processes = false;
  bool cover_tmp = false;
  bool cover_run = false;
  bool trial = false;  ///< all but the program
};
inline constexpr char kWritable = 'w';  ///< a folder
inline constexpr char kReadable = 'r';  ///< a folder below one that is covered
inline constexpr char kReadableFile = 'f';

/// Init to maker: once it waits for a plan, once the program runs (with the listeners), once all is over.
struct Report {
  enum class Kind : std::uint32_t { kReady, kStarted, kEnded } kind = Kind::kReady;
  Failure failure;
  std::int32_t program = 0;      ///< kStarted: as its own namespace numbers it; the message carries credentials
  std::int32_t wait_status = 0;  ///< kEnded
  std::uint64_t cpu_ns = 0;      ///< kEnded: of all that was waited for
};

/// The life of the forge, which answers on `socket`. All signals are blocked.
[[noreturn]] void run_forge(int socket) noexcept;

/// The life of an init.
[[noreturn]] void run_init(const ForkRequest& request, int control, int output) noexcept;

/// Mounts as `plan` says. `mounts`: its strings, sorted, so that what lies deeper comes later.
[[nodiscard]] Failure mount_files(const Plan& plan, const char* mounts) noexcept;

/// One packet, with up to `count` descriptors, which stay the caller's; `process`: whose number it carries, 0: the
/// sender's. False if it could not be sent.
bool send_packet(int socket, const void* bytes, std::size_t size, const int* descriptors, int count,
                 pid_t process) noexcept;
/// Bytes received; 0: the other end is closed, -1: errno. `descriptors`: at most `most`, new, closed by exec; `count`
/// of them have come. `process`: of whom it tells, if `socket` passes credentials; may be null.
long receive_packet(int socket, void* bytes, std::size_t size, int* descriptors, int most, int* count,
                    pid_t* process) noexcept;

}  // namespace virga::sandbox_init
