#include "virga/cli/signals.h"

#include <cerrno>
#include <csignal>
#include <cstdint>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "virga/base/error.h"
#include "virga/cli/output.h"

namespace virga {
namespace {

std::atomic<int> received{0};

sigset_t watched_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, number);
  return set;
}

/// Ends the program as the signal would have done, had nobody blocked it.
[[noreturn]] void die_of(int number) {
  static_cast<void>(std::signal(number, SIG_DFL));
  const auto set = watched_signals();
  ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  static_cast<void>(std::raise(number));
  ::_exit(128 + number);
}

}  // namespace

int signal_received() noexcept { return received; }

StopOnSignal::StopOnSignal() : wake_(::eventfd(0, EFD_CLOEXEC)) {
  if (wake_ < 0) throw system_error("cannot watch for signals", errno);
  const auto set = watched_signals();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  watcher_ = std::thread([this] { watch(wake_); });
}

StopOnSignal::~StopOnSignal() {
  const std::uint64_t one = 1;
  static_cast<void>(!::write(wake_, &one, sizeof(one)));
  watcher_.join();
  ::close(wake_);
  const auto set = watched_signals();
  ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

void StopOnSignal::watch(int wake) {
  const auto set = watched_signals();
  const int signals = ::signalfd(-1, &set, SFD_CLOEXEC);
  pollfd waited[] = {{signals, POLLIN, 0}, {wake, POLLIN, 0}};
  while (::poll(waited, 2, -1) >= 0 || errno == EINTR) {
    if ((waited[1].revents & POLLIN) != 0) break;
    signalfd_siginfo info{};
    if ((waited[0].revents & POLLIN) == 0 || ::read(signals, &info, sizeof(info)) != sizeof(info)) continue;
    const auto number = static_cast<int>(info.ssi_signo);
    if (received != 0) die_of(number);
    received = number;
    write_stderr("virga: stopping; once more ends it at once\n");
    source_.request_stop();
  }
  ::close(signals);
}

}  // namespace virga
