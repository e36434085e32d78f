#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "virga/engine/sandbox.h"
#include "virga/engine/sandbox_forge.h"

namespace virga {

/// Sockets that listen at free ports of 127.0.0.1, in place of `ports`, which become theirs. Throws Error(kIo).
[[nodiscard]] std::vector<Descriptor> listen_at_free_ports(std::vector<std::uint16_t>& ports);

/// A program that runs in a sandbox.
class SandboxProcess : public Sandbox {
 public:
  /// `watched_bytes`: memory to be held by looking at it; 0: none.
  SandboxProcess(std::unique_ptr<PreparedSandbox> sandbox, pid_t program, std::vector<Descriptor> listeners,
                 std::uint64_t watched_bytes);
  ~SandboxProcess() override;

  [[nodiscard]] pid_t pid() const noexcept override { return program_; }
  [[nodiscard]] int end_descriptor() const noexcept override { return sandbox_->control(); }
  [[nodiscard]] int output_descriptor() const noexcept override { return sandbox_->output(); }
  [[nodiscard]] Descriptor take_listener(std::size_t index) override;
  void kill() noexcept override;
  [[nodiscard]] std::optional<End> ended() override;
  [[nodiscard]] Usage usage() override;
  [[nodiscard]] std::vector<pid_t> processes() const override;

 private:
  void look();
  [[nodiscard]] Usage usage_now() const;

  std::unique_ptr<PreparedSandbox> sandbox_;
  pid_t program_;
  pid_t init_;
  std::vector<Descriptor> listeners_;
  std::uint64_t watched_bytes_;
  std::optional<sandbox_init::Report> last_word_;  // of the init
  std::optional<End> end_;
  // Where no control group counts.
  Usage seen_;
};

}  // namespace virga
