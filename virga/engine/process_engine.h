#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "virga/base/deadline.h"
#include "virga/function/payload.h"

namespace virga {

/// Invokes functions as plain processes of this machine: `virga-function PAYLOAD`, each in a process group of its own.
/// Who outlives his lifetime is killed; no other limit is enforced. They die with the process that started them. For
/// one thread.
class ProcessEngine {
 public:
  using Invocation = std::uint64_t;
  enum class Twin : std::uint8_t { kNone, kStartsFirst, kStartsSecond };
  struct Ended {
    Invocation invocation = 0;
    std::optional<Answer> answer;  ///< none: it died without one
    std::string death;             ///< then: "killed by signal 9 (Killed)", "exit status 3"
    std::filesystem::path log;     ///< what it said on standard error
  };
  struct Options {
    std::filesystem::path program;                        ///< virga-function
    std::filesystem::path folder;                         ///< for payloads and logs; made if missing
    std::map<std::string, std::string> environment = {};  ///< besides this process's own
    std::chrono::milliseconds grace{10'000};              ///< after its lifetime an invocation is killed
    /// For tests: is an invocation to be run twice at once, as some platforms do now and then? Nobody hears of the
    /// twin.
    std::function<Twin(const Payload&)> twin = {};
  };

  explicit ProcessEngine(Options options);
  /// Kills what still runs.
  ~ProcessEngine();
  ProcessEngine(const ProcessEngine&) = delete;
  ProcessEngine& operator=(const ProcessEngine&) = delete;

  /// Starts a process; `name` is that of its log. Throws Error(kIo, kNotFound).
  Invocation invoke(const Payload& payload, const std::string& name);
  /// Invocations that have ended since the last call; waits for one up to `time`. To be called again and again: it is
  /// here that lifetimes are enforced.
  [[nodiscard]] std::vector<Ended> wait(std::chrono::milliseconds time);
  void kill(Invocation invocation) noexcept;
  /// Kills and forgets all that runs.
  void kill_all() noexcept;

  /// For tests that kill: process ids of what runs.
  [[nodiscard]] std::vector<pid_t> processes() const;
  /// For tests: wait() says that this process has crashed, as if it were out of sight, while it lives on.
  void lose(pid_t pid);
  [[nodiscard]] bool runs(Invocation invocation) const { return running_.contains(invocation); }

 private:
  struct Process {
    pid_t pid = 0;
    int pidfd = -1;
    int output = -1;  // of its answer
    std::string answer;
    std::filesystem::path log;
    std::chrono::milliseconds lifetime{};
    Deadline end;  ///< then it is killed
    bool overdue = false;
    bool unheard = false;  // its end is no news
  };
  void start(Invocation invocation, const std::filesystem::path& payload, Process process);
  void kill_the_overdue();
  void read_output(Process& process) const;
  [[nodiscard]] Ended collect(Invocation invocation, Process& process) const;

  const Options options_;
  std::map<Invocation, Process> running_;
  std::vector<Ended> lost_;  // since the last wait()
  Invocation next_ = 1;
};

}  // namespace virga
