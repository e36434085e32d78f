#pragma once

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "virga/base/error.h"
#include "virga/ps/client.h"

namespace virga {

/// The program virga-ps, which can be killed and started anew at the same address. Runs from construction on.
class StoreProcess {
 public:
  /// "tcp:127.0.0.1:0" takes a free port, and keeps it.
  explicit StoreProcess(std::string address, std::vector<std::string> flags = {})
      : address_(std::move(address)), flags_(std::move(flags)) {
    start();
  }
  ~StoreProcess() { kill(); }
  StoreProcess(const StoreProcess&) = delete;
  StoreProcess& operator=(const StoreProcess&) = delete;

  /// Listens when it returns; it holds nothing.
  void start() {
    const char* programs = std::getenv("VIRGA_BIN_DIR");  // NOLINT(concurrency-mt-unsafe): there is one thread
    const auto program = (std::filesystem::path(programs == nullptr ? "." : programs) / "virga-ps").string();
    std::vector<std::string> arguments{"virga-ps", "--listen", address_};
    arguments.insert(arguments.end(), flags_.begin(), flags_.end());
    std::vector<char*> argv;
    for (auto& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    std::array<int, 2> ends{};
    check(::pipe2(ends.data(), O_CLOEXEC) == 0, "a pipe can be made");
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::dup2(ends[1], STDOUT_FILENO);
      ::execv(program.c_str(), argv.data());
      ::_exit(127);
    }
    ::close(ends[1]);
    std::string line;
    for (char c = 0; ::read(ends[0], &c, 1) == 1 && c != '\n';) line += c;
    ::close(ends[0]);
    constexpr std::string_view kSays = "virga-ps listens on ";
    check(line.starts_with(kSays), "virga-ps says where it listens");
    address_ = line.substr(kSays.size());
  }
  /// As by kill -9; what it held is gone.
  void kill() {
    if (pid_ < 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

  [[nodiscard]] bool runs() const { return pid_ > 0; }
  [[nodiscard]] const std::string& address() const { return address_; }
  [[nodiscard]] std::uint64_t messages_of(const std::string& job) const {
    PsClient client({.address = address_, .token = "", .job = job});
    return client.contents({Deadline::in(std::chrono::seconds(20))}).messages;
  }

 private:
  std::string address_;
  const std::vector<std::string> flags_;
  pid_t pid_ = -1;
};

}  // namespace virga
