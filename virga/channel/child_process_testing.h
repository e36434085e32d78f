#pragma once

#include <cerrno>
#include <csignal>

#include <sys/wait.h>
#include <unistd.h>

#include "virga/base/error.h"

namespace virga {

/// A copy of this process that does one thing. Must be made while there is only one thread.
class ChildProcess {
 public:
  template <typename Body>
  explicit ChildProcess(const Body& body) : pid_(::fork()) {
    check(pid_ >= 0, "a process can be made");
    if (pid_ != 0) return;
    try {
      body();
    } catch (...) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  ~ChildProcess() {
    if (pid_ > 0) (void)kill_and_wait();
  }
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  /// Did it end without an exception?
  [[nodiscard]] bool succeeds() {
    const int status = wait();
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  /// SIGKILL. True if that is how it ended, and not before.
  bool kill_and_wait() {
    ::kill(pid_, SIGKILL);
    return WIFSIGNALED(wait());
  }

 private:
  int wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }

  pid_t pid_;
};

}  // namespace virga
