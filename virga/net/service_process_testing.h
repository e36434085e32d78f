#pragma once

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "virga/base/error.h"

namespace virga {

/// A service that a test has started: a program with its arguments, which ends with this object, or with the test.
class ServiceProcess {
 public:
  /// `package`: where the program comes from, should it be missing. Its output goes nowhere, or to the file `log`.
  ServiceProcess(const std::vector<std::string>& command, const std::string& package, const std::string& log = "") {
    std::vector<char*> pointers;
    for (const auto& argument : command) pointers.push_back(const_cast<char*>(argument.c_str()));
    pointers.push_back(nullptr);
    const auto parent = ::getpid();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(1);
      const int to = ::open(log.empty() ? "/dev/null" : log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
      ::dup2(to, STDOUT_FILENO);
      ::dup2(to, STDERR_FILENO);
      ::execvp(pointers[0], pointers.data());
      ::_exit(kNoProgram);
    }
    name_ = command[0];
    package_ = package;
  }
  ~ServiceProcess() { kill(); }
  ServiceProcess(const ServiceProcess&) = delete;
  ServiceProcess& operator=(const ServiceProcess&) = delete;

  /// Returns when `is_ready` does; throws if the process ends before.
  void await(const std::function<bool()>& is_ready) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!is_ready()) {
      int status = 0;
      if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = -1;
        if (WIFEXITED(status) && WEXITSTATUS(status) == kNoProgram) {
          throw Error(ErrorKind::kNotFound, name_ + " is not installed", "install " + package_);
        }
        throw Error(ErrorKind::kUnavailable, name_ + " has ended");
      }
      if (std::chrono::steady_clock::now() > deadline) {
        throw Error(ErrorKind::kDeadlineExceeded, name_ + " was not ready in time");
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }

  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
  }
  /// Returns when it does nothing any more.
  void stop() const {
    ::kill(pid_, SIGSTOP);
    int status = 0;
    while (::waitpid(pid_, &status, WUNTRACED) < 0 && errno == EINTR) {
    }
    check(WIFSTOPPED(status), "a service stops");
  }
  void go_on() const { ::kill(pid_, SIGCONT); }

 private:
  static constexpr int kNoProgram = 127;
  std::string name_;
  std::string package_;
  pid_t pid_ = -1;
};

}  // namespace virga
