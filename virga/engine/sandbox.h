#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "virga/net/descriptor.h"

namespace virga {

// Processes within limits, as a function platform would give them: memory, share of a processor, number of processes, a
// network and a view of the files of their own, each as far as this machine permits. docs/sandbox.md says what is held
// how, and what is not.

/// How each limit is held here; "" where it is not.
struct SandboxPowers {
  std::string memory;     ///< "cgroup v1", "cgroup v2", "watched" (resident memory looked at now and then)
  std::string cpu;        ///< "cgroup v1", "cgroup v2"
  std::string processes;  ///< "cgroup v1", "cgroup v2", "rlimit" (of a namespace of users)
  std::string network;    ///< "namespace"
  std::string files;      ///< "namespace": all is read-only but what is named
  std::string pids;       ///< "namespace": what is left of a function dies with it
  std::string objection;  ///< for people: why control groups do not hold the first three; "" if they do
  bool operator==(const SandboxPowers&) const = default;
};
/// For people, one line: "memory, cpu and processes by cgroup v1; network, files and pids by namespaces".
[[nodiscard]] std::string describe(const SandboxPowers& powers);

struct SandboxSpec {
  std::filesystem::path program;
  std::vector<std::string> arguments;              ///< after the program's name
  std::map<std::string, std::string> environment;  ///< all of it: nothing is inherited
  std::filesystem::path working_folder;            ///< read-only to it
  /// Folders that it is to see although they lie below what is hidden from it (/tmp, /run); read-only.
  std::vector<std::filesystem::path> readable;
  /// Folders that it may write to, besides its own /tmp. It has no capability, so as root it writes only where root's
  /// own rights suffice: folder and files must be root's, or open to all.
  std::vector<std::filesystem::path> writable;
  /// Of all its processes together, with page cache and files in /tmp; 0: not limited. When it runs out, all of them
  /// are killed.
  std::uint64_t memory_bytes = 0;
  double cpus = 1;               ///< processors' worth of time, above 0; in periods of 10 ms, longer below 0.1
  unsigned most_processes = 64;  ///< and threads
  unsigned most_files = 1024;    ///< open at once, of each process; lower where this process's own hard limit is
  std::uint64_t tmp_bytes = std::uint64_t{512} << 20;
  /// TCP ports of 127.0.0.1 as it sees it, where sockets are to listen for it: see Sandbox::take_listener(). Where it
  /// has no network of its own, free ports are taken in their place.
  std::vector<std::uint16_t> listen;
  /// The hosts that those sockets pretend to be, one for each, in a network of its own: IPv4 numbers; 127.0.0.1 where
  /// there is none.
  std::vector<std::string> listen_hosts;
  /// Variables that are to hold "127.0.0.1:PORT" of the listener with that index (its port may have been replaced).
  std::map<std::string, std::size_t> address_variables;
};

/// A process that runs, and all that it has started. When the program ends, or this process does, however it ends, all
/// of it is killed. For one thread.
class Sandbox {
 public:
  /// Of the whole sandbox, also after its end; counted from before the program's first instruction, so with a
  /// millisecond or so of setting up.
  struct Usage {
    std::chrono::nanoseconds cpu{};
    /// With page cache and files in /tmp where a control group counts; else the most that was seen, without them.
    std::uint64_t peak_memory_bytes = 0;
    std::uint64_t out_of_memory_kills = 0;
  };
  struct End {
    int signal = 0;              ///< that killed it; 0: none
    int exit_code = 0;           ///< if no signal did
    bool out_of_memory = false;  ///< the limit was met; not if some other kill came first
  };

  virtual ~Sandbox() = default;  ///< kills, waits, and removes what was made for it
  Sandbox() = default;
  Sandbox(const Sandbox&) = delete;
  Sandbox& operator=(const Sandbox&) = delete;

  [[nodiscard]] virtual pid_t pid() const noexcept = 0;  ///< as this machine numbers it
  /// Readable once the program has ended; to be polled, never read. Stays the sandbox's.
  [[nodiscard]] virtual int end_descriptor() const noexcept = 0;
  /// Its standard output and standard error, one pipe, not blocking. Stays the sandbox's.
  [[nodiscard]] virtual int output_descriptor() const noexcept = 0;
  /// A socket that listens in its network, as asked for; each can be taken once.
  [[nodiscard]] virtual Descriptor take_listener(std::size_t index) = 0;
  /// Kills all its processes at once; does not wait. Harmless after the end.
  virtual void kill() noexcept = 0;
  /// How the program ended; nothing while it runs, or while something that it started still dies. Where memory is only
  /// watched, this and usage() look, and kill: to be called every 50 ms.
  [[nodiscard]] virtual std::optional<End> ended() = 0;
  [[nodiscard]] virtual Usage usage() = 0;
  /// All processes in it, as this machine numbers them.
  [[nodiscard]] virtual std::vector<pid_t> processes() const = 0;
};

/// Makes sandboxes. For one thread. To be made early: it forks a small process once, which forks all that follows, so
/// that neither the memory nor the threads that this process has later are in the way. One sandbox is always kept
/// ready, so a start costs least when some milliseconds have passed since the one before.
class SandboxMaker {
 public:
  enum class Want : std::uint8_t { kAll, kNone };  ///< kNone: as if this machine permitted nothing, for tests
  /// `name`: a part of the names of what is made (control groups "virga-NAME-..."), unique in this process. Tries out
  /// what is permitted, and removes what makers of any name have left behind in processes that are dead. Throws
  /// Error(kIo).
  explicit SandboxMaker(std::string name, Want want = Want::kAll);
  /// Removes what it made. All its sandboxes are gone by then.
  ~SandboxMaker();
  SandboxMaker(const SandboxMaker&) = delete;
  SandboxMaker& operator=(const SandboxMaker&) = delete;

  [[nodiscard]] const SandboxPowers& powers() const noexcept;
  /// Returns when the program runs. Throws Error: kNotFound for a program that is not there or cannot be run, or a
  /// folder that is not there; kUsage for a spec that makes no sense; kTooLarge; kIo, naming the step that failed.
  [[nodiscard]] std::unique_ptr<Sandbox> start(const SandboxSpec& spec);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace virga
