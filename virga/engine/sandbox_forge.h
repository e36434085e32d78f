#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "virga/engine/cgroup.h"
#include "virga/engine/sandbox_init.h"
#include "virga/net/descriptor.h"

namespace virga {

/// An init that is in its groups and namespaces, or on its way there, and waits for a plan. Whatever becomes of it, the
/// destructor kills, waits and removes.
class PreparedSandbox {
 public:
  ~PreparedSandbox();
  PreparedSandbox(const PreparedSandbox&) = delete;
  PreparedSandbox& operator=(const PreparedSandbox&) = delete;

  struct Started {
    sandbox_init::Failure failure;
    pid_t program = 0;
    std::vector<Descriptor> listeners;
  };
  /// Waits until it is ready; says where it failed, if it did.
  [[nodiscard]] sandbox_init::Failure wait_ready();
  /// Hands it the plan and waits until the program runs. Throws Error(kIo) if nothing is heard.
  [[nodiscard]] Started start(const Descriptor& plan, std::size_t listeners);

  /// Tells the init to end everything; where it is the first process of a namespace, everything ends at once.
  void kill() noexcept;
  /// Waits for the init's end, up to `patience`; true if it has ended.
  bool wait(std::chrono::milliseconds patience) noexcept;

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  [[nodiscard]] int control() const noexcept { return control_.get(); }
  [[nodiscard]] int output() const noexcept { return output_.get(); }
  [[nodiscard]] bool has_own_processes() const noexcept { return own_processes_; }
  [[nodiscard]] const ControlGroup& group() const noexcept { return *group_; }

 private:
  friend class Forge;
  PreparedSandbox() = default;

  bool own_processes_ = false;  // a namespace of them
  std::unique_ptr<ControlGroup> group_;
  Descriptor control_, output_, process_;
  int forge_ = -1;  // the answer is still to come from there
  pid_t pid_ = 0;   // 0: not known yet, or waited for
  std::optional<sandbox_init::Failure> ready_;
};

/// The maker's end of the forge (sandbox_init.h).
class Forge {
 public:
  Forge();
  ~Forge();
  Forge(const Forge&) = delete;
  Forge& operator=(const Forge&) = delete;

  /// Asks for an init and does not wait for it. The one before must be ready. `clone_flags`: the namespaces.
  [[nodiscard]] std::unique_ptr<PreparedSandbox> prepare(std::unique_ptr<ControlGroup> group,
                                                         std::uint64_t clone_flags);

 private:
  void fork();
  void stop() noexcept;

  pid_t pid_ = 0;
  Descriptor socket_;
};

}  // namespace virga
