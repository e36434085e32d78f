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
#include "virga/engine/engine.h"

namespace virga {

/// Invokes functions as plain processes of this machine: `virga-function PAYLOAD`, each in a process group of its own.
/// Who outlives his lifetime is killed; no other limit is enforced. They die with the process that started them. For
/// one thread.
class ProcessEngine final : public Engine {
 public:
  enum class Twin : std::uint8_t { kNone, kStartsFirst, kStartsSecond };
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
  ~ProcessEngine() override;

  Invocation invoke(const Payload& payload, const std::string& name) override;
  /// It is here that lifetimes are enforced.
  [[nodiscard]] std::vector<Ended> wait(std::chrono::milliseconds time) override;
  void kill(Invocation invocation) noexcept override;
  void kill_all() noexcept override;
  [[nodiscard]] std::vector<pid_t> processes() const override;
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
