#include "virga/engine/sandbox_process.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <utility>

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "virga/base/error.h"
#include "virga/engine/sandbox_watch.h"

namespace virga {

namespace {

using namespace std::chrono_literals;
constexpr auto kDying = 20ms;  // what a process may take to die before ended() says that it still runs

bool is_readable(int descriptor) {
  pollfd poll{.fd = descriptor, .events = POLLIN, .revents = 0};
  return ::poll(&poll, 1, 0) > 0;
}

}  // namespace

std::vector<Descriptor> listen_at_free_ports(std::vector<std::uint16_t>& ports) {
  std::vector<Descriptor> sockets;
  for (auto& port : ports) {
    Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (!socket || ::bind(socket.get(), generic, size) != 0 || ::listen(socket.get(), SOMAXCONN) != 0 ||
        ::getsockname(socket.get(), generic, &size) != 0) {
      throw system_error("cannot listen at 127.0.0.1 for a sandbox", errno);
    }
    port = ntohs(address.sin_port);
    sockets.push_back(std::move(socket));
  }
  return sockets;
}

SandboxProcess::SandboxProcess(std::unique_ptr<PreparedSandbox> sandbox, pid_t program,
                               std::vector<Descriptor> listeners, std::uint64_t watched_bytes)
    : sandbox_(std::move(sandbox)),
      program_(program),
      init_(sandbox_->pid()),
      listeners_(std::move(listeners)),
      watched_bytes_(watched_bytes) {}

SandboxProcess::~SandboxProcess() { SandboxProcess::kill(); }

Descriptor SandboxProcess::take_listener(std::size_t index) {
  check(index < listeners_.size() && listeners_[index], "a listening socket was taken twice, or is not there");
  return std::exchange(listeners_[index], Descriptor());
}

void SandboxProcess::kill() noexcept {
  if (end_) return;
  sandbox_->group().free_cpu();
  if (sandbox_->group().kill()) return;
  if (!sandbox_->has_own_processes()) {
    try {
      for (const auto pid : processes()) ::kill(pid, SIGKILL);
    } catch (const std::exception&) {
      // The init kills as well.
    }
  }
  sandbox_->kill();
}

std::vector<pid_t> SandboxProcess::processes() const {
  std::vector<pid_t> all;
  if (end_) return all;
  if (auto in_group = sandbox_->group().processes()) {
    all = std::move(*in_group);
  } else {
    for (const auto& process : descendants(init_)) {
      if (process.state != 'Z') all.push_back(process.pid);
    }
  }
  std::erase(all, init_);
  return all;
}

/// Where no control group counts all: the processes themselves are asked.
void SandboxProcess::look() {
  const auto processes = descendants(init_);
  auto cpu = process_facts(init_).value_or(ProcessFacts{}).cpu_of_children;
  for (const auto& process : processes) cpu += process.cpu + process.cpu_of_children;
  seen_.cpu = std::max(seen_.cpu, cpu);
  const auto counted = sandbox_->group().memory_bytes();
  const auto memory = counted ? *counted : memory_of(processes, watched_bytes_);
  seen_.peak_memory_bytes = std::max(seen_.peak_memory_bytes, memory);
  if (watched_bytes_ == 0 || memory <= watched_bytes_ || seen_.out_of_memory_kills != 0) return;
  seen_.out_of_memory_kills = 1;
  kill();
}

std::optional<Sandbox::End> SandboxProcess::ended() {
  if (end_) return end_;
  (void)usage();
  if (!is_readable(sandbox_->control())) return std::nullopt;
  sandbox_init::Report report;
  const auto size =
      sandbox_init::receive_packet(sandbox_->control(), &report, sizeof report, nullptr, 0, nullptr, nullptr);
  const bool told = size == static_cast<long>(sizeof report);
  if (told) last_word_ = report;
  if (!sandbox_->wait(kDying)) return std::nullopt;  // the other end is closed: this is asked again
  End end{.signal = SIGKILL};
  if (last_word_) {
    const int status = last_word_->wait_status;
    end = WIFSIGNALED(status) ? End{.signal = WTERMSIG(status)} : End{.exit_code = WEXITSTATUS(status)};
    seen_.cpu = std::max(seen_.cpu, std::chrono::nanoseconds(last_word_->cpu_ns));
  }
  end.out_of_memory = usage_now().out_of_memory_kills != 0;
  end_ = end;
  return end_;
}

Sandbox::Usage SandboxProcess::usage_now() const {
  const auto& group = sandbox_->group();
  return {.cpu = group.cpu().value_or(seen_.cpu),
          .peak_memory_bytes = group.peak_memory_bytes().value_or(seen_.peak_memory_bytes),
          .out_of_memory_kills = group.out_of_memory_kills() + seen_.out_of_memory_kills};
}

Sandbox::Usage SandboxProcess::usage() {
  const auto& group = sandbox_->group();
  if (!end_ && (watched_bytes_ != 0 || !group.cpu() || !group.peak_memory_bytes())) look();
  return usage_now();
}

}  // namespace virga
