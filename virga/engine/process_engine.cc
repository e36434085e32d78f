#include "virga/engine/process_engine.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/file.h"

extern char** environ;  // NOLINT(readability-redundant-declaration): not declared everywhere

namespace virga {
namespace {

constexpr std::size_t kMostAnswerBytes = 1 << 20;
constexpr std::uint64_t kLogTailBytes = 4096;

void close_quietly(int descriptor) noexcept {
  if (descriptor >= 0) ::close(descriptor);
}

/// "NAME=value" of this process with `more` in place of what has the same name.
std::vector<std::string> environment_with(const std::map<std::string, std::string>& more) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (!more.contains(std::string(text.substr(0, text.find('='))))) all.emplace_back(text);
  }
  for (const auto& [name, value] : more) all.push_back(fmt::format("{}={}", name, value));
  return all;
}

/// What a process said last.
std::string log_tail(const std::filesystem::path& log) {
  try {
    const ReadableFile file(log);
    const auto size = std::min(file.size(), kLogTailBytes);
    Bytes tail(size);
    tail.resize(file.read_at(file.size() - size, tail));
    return std::string(as_text(tail));
  } catch (const Error&) {
    return "";
  }
}

double seconds(std::chrono::milliseconds time) { return std::chrono::duration<double>(time).count(); }

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  result.reserve(texts.size() + 1);
  for (auto& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

ProcessEngine::ProcessEngine(Options options) : options_(std::move(options)) {
  std::error_code error;
  std::filesystem::create_directories(options_.folder, error);
  if (error) throw system_error("cannot create " + options_.folder.string(), error.value());
  if (::access(options_.program.c_str(), X_OK) != 0) {
    throw Error(ErrorKind::kNotFound, fmt::format("{}: not a program that can be run", options_.program.string()),
                "build it (it lies beside virga), or keep both programs in one folder");
  }
}

ProcessEngine::~ProcessEngine() { kill_all(); }

void ProcessEngine::kill_all() noexcept {
  for (auto& [invocation, process] : running_) {
    ::kill(-process.pid, SIGKILL);
    ::kill(process.pid, SIGKILL);
    ::waitpid(process.pid, nullptr, 0);
    close_quietly(process.pidfd);
    close_quietly(process.output);
  }
  running_.clear();
}

ProcessEngine::Invocation ProcessEngine::invoke(const Payload& payload, const std::string& name) {
  const auto invocation = next_++;
  const auto path = options_.folder / fmt::format("{}.json", name);
  write_file_atomically(path, as_bytes(encode_payload(payload)), false);
  const Deadline end = Deadline::in(payload.lifetime + options_.grace);
  const auto twin = options_.twin ? options_.twin(payload) : Twin::kNone;
  const auto start_one = [&](Invocation which, bool unheard) {
    start(which, path,
          {.log = options_.folder / fmt::format("{}.log", name),
           .lifetime = payload.lifetime,
           .end = end,
           .unheard = unheard});
  };
  if (twin == Twin::kStartsFirst) start_one(next_++, true);
  start_one(invocation, false);
  if (twin == Twin::kStartsSecond) start_one(next_++, true);
  return invocation;
}

void ProcessEngine::start(Invocation invocation, const std::filesystem::path& payload, Process process) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw system_error("cannot make a pipe", errno);
  const int log = ::open(process.log.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
  if (log < 0) {
    const int failed = errno;
    close_quietly(ends[0]);
    close_quietly(ends[1]);
    throw system_error("cannot write " + process.log.string(), failed);
  }
  std::vector<std::string> arguments = {options_.program.string(), payload.string()};
  auto environment = environment_with(options_.environment);
  auto argv = pointers(arguments);
  auto envp = pointers(environment);
  const auto parent = ::getpid();
  process.pid = ::fork();
  if (process.pid == 0) {
    // Only what may be called between fork and exec.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);
    ::setpgid(0, 0);
    const int nothing = ::open("/dev/null", O_RDONLY);
    ::dup2(nothing, STDIN_FILENO);
    ::dup2(ends[1], STDOUT_FILENO);
    ::dup2(log, STDERR_FILENO);
    ::execve(argv[0], argv.data(), envp.data());
    ::_exit(127);
  }
  const int failed = errno;
  close_quietly(ends[1]);
  close_quietly(log);
  if (process.pid < 0) {
    close_quietly(ends[0]);
    throw system_error("cannot start " + options_.program.string(), failed);
  }
  process.output = ends[0];
  ::fcntl(process.output, F_SETFL, O_NONBLOCK);
  process.pidfd = static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0));
  if (process.pidfd < 0) {  // nobody would hear of its end
    const int unseen = errno;
    ::kill(process.pid, SIGKILL);
    ::waitpid(process.pid, nullptr, 0);
    close_quietly(process.output);
    throw system_error("cannot watch a process", unseen);
  }
  running_.emplace(invocation, std::move(process));
}

void ProcessEngine::read_output(Process& process) const {
  char buffer[4096];
  for (;;) {
    const auto count = ::read(process.output, buffer, sizeof buffer);
    if (count <= 0) return;
    if (process.answer.size() < kMostAnswerBytes) process.answer.append(buffer, static_cast<std::size_t>(count));
  }
}

ProcessEngine::Ended ProcessEngine::collect(Invocation invocation, Process& process) const {
  int status = 0;
  ::waitpid(process.pid, &status, 0);
  read_output(process);
  close_quietly(process.output);
  close_quietly(process.pidfd);
  Ended ended{.invocation = invocation, .log_tail = log_tail(process.log)};
  if (WIFSIGNALED(status)) {
    ended.cause = process.overdue ? Ended::Cause::kTimedOut : Ended::Cause::kCrashed;
    // NOLINTBEGIN(concurrency-mt-unsafe): the texts of signals that there are do not change
    ended.death = process.overdue
                      ? fmt::format("killed, because it had not ended {:.1f} s after its lifetime of {:.1f} s",
                                    seconds(options_.grace), seconds(process.lifetime))
                      : fmt::format("killed by signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
    // NOLINTEND(concurrency-mt-unsafe)
    return ended;
  }
  try {
    if (!process.answer.empty()) ended.answer = decode_answer(process.answer);
  } catch (const Error&) {
    // An answer that was cut off is none.
  }
  if (ended.answer) return ended;
  ended.cause = Ended::Cause::kCrashed;
  ended.death = fmt::format("exit status {}", WEXITSTATUS(status));
  return ended;
}

void ProcessEngine::kill_the_overdue() {
  for (auto& [invocation, process] : running_) {
    if (process.overdue || !process.end.passed()) continue;
    process.overdue = true;
    ::kill(process.pid, SIGKILL);
  }
}

std::vector<ProcessEngine::Ended> ProcessEngine::wait(std::chrono::milliseconds time) {
  kill_the_overdue();
  auto ended = std::exchange(lost_, {});
  if (!ended.empty()) return ended;
  std::vector<pollfd> polls;
  std::vector<Invocation> order;
  for (const auto& [invocation, process] : running_) {
    polls.push_back({.fd = process.pidfd, .events = POLLIN, .revents = 0});
    polls.push_back({.fd = process.output, .events = POLLIN, .revents = 0});
    order.push_back(invocation);
    if (process.overdue) continue;
    time = std::min(time, std::chrono::ceil<std::chrono::milliseconds>(process.end.remaining()));
  }
  const int ready = ::poll(polls.data(), polls.size(), static_cast<int>(time.count()));
  if (ready <= 0) return ended;
  for (std::size_t i = 0; i < order.size(); ++i) {
    auto& process = running_.at(order[i]);
    const auto output = polls[2 * i + 1].revents;
    if ((output & POLLIN) != 0) read_output(process);
    if ((output & (POLLHUP | POLLIN)) == POLLHUP) close_quietly(std::exchange(process.output, -1));
    if (polls[2 * i].revents == 0) continue;
    auto how = collect(order[i], process);
    if (!process.unheard) ended.push_back(std::move(how));
    running_.erase(order[i]);
  }
  return ended;
}

void ProcessEngine::kill(Invocation invocation) noexcept {
  const auto at = running_.find(invocation);
  if (at != running_.end()) ::kill(at->second.pid, SIGKILL);
}

std::vector<pid_t> ProcessEngine::processes() const {
  std::vector<pid_t> all;
  for (const auto& [invocation, process] : running_) all.push_back(process.pid);
  return all;
}

void ProcessEngine::lose(pid_t pid) {
  for (auto& [invocation, process] : running_) {
    if (process.pid != pid || std::exchange(process.unheard, true)) continue;
    lost_.push_back({.invocation = invocation, .cause = Ended::Cause::kCrashed, .death = "out of sight"});
  }
}

}  // namespace virga
