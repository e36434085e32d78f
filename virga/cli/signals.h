#pragma once

#include <atomic>
#include <stop_token>
#include <thread>

namespace virga {

/// While it lives, the first SIGINT, SIGTERM or SIGHUP requests a stop, and a second one ends the program at once, as
/// if it had never been caught. Create it before other threads: they inherit that the signals are left to it.
class StopOnSignal {
 public:
  StopOnSignal();
  ~StopOnSignal();
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;

  [[nodiscard]] std::stop_token token() const noexcept { return source_.get_token(); }

 private:
  void watch(int wake);

  std::stop_source source_;
  int wake_;
  std::thread watcher_;
};

/// The signal that requested a stop in this process, or 0.
[[nodiscard]] int signal_received() noexcept;

}  // namespace virga
