#include "virga/engine/sandbox_forge.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

#include "virga/base/deadline.h"
#include "virga/base/error.h"
#include "virga/engine/sandbox_system.h"

namespace virga {

namespace {

using namespace std::chrono_literals;
namespace init = sandbox_init;

constexpr auto kPatience = 20s;  // with what takes milliseconds

struct Pair {
  Descriptor ours, theirs;
};
Pair packet_pair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    throw system_error("cannot make a pair of sockets for a sandbox", errno);
  }
  return {Descriptor(ends[0]), Descriptor(ends[1])};
}

bool readable_within(int descriptor, std::chrono::milliseconds patience) {
  const auto end = std::chrono::steady_clock::now() + patience;
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    pollfd poll{.fd = descriptor, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&poll, 1, static_cast<int>(std::max<std::int64_t>(0, left.count())));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

template <class T>
bool receive(int socket, T& message, std::vector<Descriptor>* descriptors = nullptr, pid_t* process = nullptr) {
  if (!readable_within(socket, kPatience)) return false;
  std::array<int, init::kMostListeners> come{};
  int count = 0;
  const auto size =
      init::receive_packet(socket, &message, sizeof message, come.data(), init::kMostListeners, &count, process);
  for (int i = 0; i < count; ++i) {
    Descriptor owned(come[static_cast<std::size_t>(i)]);
    if (descriptors != nullptr) descriptors->push_back(std::move(owned));
  }
  return size == static_cast<long>(sizeof message);
}

}  // namespace

Forge::Forge() { fork(); }

void Forge::fork() {
  auto [ours, theirs] = packet_pair();
  // No handler of ours may run over there, so all signals are blocked before and stay so.
  const std::uint64_t all = ~std::uint64_t{0};
  std::uint64_t before = 0;
  sandbox_system::call(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof all);
  const long pid = sandbox_system::call(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  if (pid == 0) init::run_forge(theirs.get());
  const int error = errno;
  sandbox_system::call(SYS_rt_sigprocmask, SIG_SETMASK, &before, nullptr, sizeof before);
  if (pid < 0) throw system_error("cannot fork the process that starts sandboxes", error);
  pid_ = static_cast<pid_t>(pid);
  socket_ = std::move(ours);
}

void Forge::stop() noexcept {
  socket_ = Descriptor();
  if (pid_ == 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = 0;
}

Forge::~Forge() { stop(); }

std::unique_ptr<PreparedSandbox> Forge::prepare(std::unique_ptr<ControlGroup> group, std::uint64_t clone_flags) {
  init::ForkRequest request{.clone_flags = clone_flags, .user = ::geteuid(), .group = ::getegid()};
  for (const auto& file : group->join_files()) {
    if (file.size() >= init::kMostPathBytes) {
      throw Error(ErrorKind::kTooLarge, fmt::format("the path of the control group {} is too long", file));
    }
    std::ranges::copy(file, request.group_file[request.group_files++]);
  }
  auto prepared = std::unique_ptr<PreparedSandbox>(new PreparedSandbox());
  prepared->own_processes_ = (clone_flags & CLONE_NEWPID) != 0;
  prepared->group_ = std::move(group);
  auto [ours, theirs] = packet_pair();
  const int on = 1;
  ::setsockopt(ours.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) throw system_error("cannot make a pipe for a sandbox", errno);
  prepared->control_ = std::move(ours);
  prepared->output_ = Descriptor(pipe[0]);
  const Descriptor writing(pipe[1]);
  ::fcntl(pipe[0], F_SETFL, O_NONBLOCK);

  const std::array<int, 2> theirs_both{theirs.get(), writing.get()};
  for (bool again = false;; again = true) {
    if (init::send_packet(socket_.get(), &request, sizeof request, theirs_both.data(), 2, 0)) break;
    if (again) throw system_error("cannot reach the process that starts sandboxes", errno);
    stop();  // somebody has killed it
    fork();
  }
  prepared->forge_ = socket_.get();
  return prepared;
}

init::Failure PreparedSandbox::wait_ready() {
  if (ready_) return *ready_;
  ready_ = init::Failure{.step = init::Step::kClone, .error = EPIPE};
  init::ForkAnswer answer;
  const bool heard = receive(std::exchange(forge_, -1), answer);
  if (heard && answer.error != 0) ready_->error = answer.error;
  if (!heard || answer.error != 0) return *ready_;
  pid_ = answer.pid;
  process_ = Descriptor(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  init::Report report;
  if (receive(control_.get(), report)) ready_ = report.failure;
  return *ready_;
}

PreparedSandbox::Started PreparedSandbox::start(const Descriptor& plan, std::size_t listeners) {
  const char go = 'g';
  const int file = plan.get();
  Started started;
  init::Report report;
  pid_t told = 0;
  if (!init::send_packet(control_.get(), &go, sizeof go, &file, 1, 0) ||
      !receive(control_.get(), report, &started.listeners, &told)) {
    started.failure = {.step = init::Step::kPlan, .error = EPIPE};
    return started;
  }
  started.failure = report.failure;
  started.program = own_processes_ ? told : report.program;
  check(report.failure.step != init::Step::kNone || started.listeners.size() == listeners, "a sandbox lost a listener");
  return started;
}

void PreparedSandbox::kill() noexcept {
  if (pid_ == 0) return;
  if (own_processes_) {
    ::kill(pid_, SIGKILL);
  } else {
    ::shutdown(control_.get(), SHUT_WR);
    ::kill(pid_, SIGCONT);
  }
}

bool PreparedSandbox::wait(std::chrono::milliseconds patience) noexcept {
  if (pid_ == 0) return true;
  if (process_ && !readable_within(process_.get(), patience)) return false;
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = 0;
  return true;
}

PreparedSandbox::~PreparedSandbox() {
  if (forge_ >= 0) (void)wait_ready();
  kill();
  if (!wait(kPatience)) {
    ::kill(pid_, SIGKILL);
    (void)wait(kPatience);
  }
}

}  // namespace virga
