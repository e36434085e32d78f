// virga stop: Ctrl-C for a run from elsewhere.
#include <cerrno>
#include <chrono>
#include <csignal>
#include <memory>
#include <thread>

#include <sys/syscall.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/units.h"
#include "virga/cli/commands.h"
#include "virga/cli/run_summary.h"
#include "virga/control/run_folder.h"
#include "virga/control/run_place.h"
#include "virga/driver/process.h"
#include "virga/driver/run_record.h"
#include "virga/driver/train_run.h"

namespace virga {
namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr auto kLookInterval = std::chrono::milliseconds(50);

struct Stop {
  std::string which;
  std::string timeout = "60s";
};

/// A handle on one process: once it is open, its number cannot come to mean another one.
class ProcessHandle {
 public:
  explicit ProcessHandle(std::int64_t pid)
      : pid_(static_cast<pid_t>(pid)), descriptor_(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0U))) {}
  ~ProcessHandle() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  ProcessHandle(const ProcessHandle&) = delete;
  ProcessHandle& operator=(const ProcessHandle&) = delete;
  [[nodiscard]] bool signal(int number) const noexcept {
    if (descriptor_ < 0) return ::kill(pid_, number) == 0;  // an old kernel, or a container that forbids handles
    return ::syscall(SYS_pidfd_send_signal, descriptor_, number, nullptr, 0U) == 0;
  }

 private:
  pid_t pid_;
  int descriptor_;
};

/// By which other commands find it, whatever the machine.
const std::string& name_of(const Run& run) { return run.uri.empty() ? run.id : run.uri; }

Error not_running(const Run& run) {
  const bool may_go_on = run.state == RunState::kDied || run.state == RunState::kStopped;
  return {ErrorKind::kConflict, fmt::format("run {} is not running: {}", run.id, to_string(run.state)),
          may_go_on && left_work(run) ? fmt::format("virga resume {} goes on with it", name_of(run))
                                      : "virga runs lists all runs and their states"};
}

/// Leaves word at its URI for a driver on another machine, which looks there now and then.
void leave_word(const Run& run) {
  const auto place = open_run_place(resume_uri(run));
  (void)place.registers->write(kStopRegister, as_bytes("{}"), {Deadline::in(std::chrono::seconds(30))});
}

/// True: the driver is on another machine.
bool interrupt(const Run& run, bool on_functions) {
  const auto driver = driver_of(run);
  if (!driver) throw not_running(run);
  if (!run.uri.empty() && driver->boot != this_process().boot) {
    if (on_functions) return leave_word(run), true;
    throw Error(ErrorKind::kUnsupported, fmt::format("run {} goes on on another machine, without functions", run.id),
                "stop it there: virga stop, or Ctrl-C");
  }
  const ProcessHandle process(driver->pid);
  if (!is_alive(*driver)) throw not_running(run);
  if (process.signal(SIGINT)) return false;
  if (errno == ESRCH) return false;  // it ended on its own just now
  throw system_error(fmt::format("cannot stop run {} (process {})", run.id, driver->pid), errno);
}

/// The run when it says that it is over. A driver `elsewhere` that clears up has no heartbeat any more, and is not
/// dead.
Run wait_for_end(const Run& run, const Session& session, std::chrono::nanoseconds timeout, bool elsewhere) {
  const auto deadline = Clock::now() + timeout;
  for (;;) {
    auto now = find_run(session.home(), name_of(run), RunChoice::kOnly);
    const bool clears_up = elsewhere && now.state == RunState::kDied;
    if (now.state != RunState::kRunning && !clears_up) return now;
    if (Clock::now() >= deadline) {
      if (clears_up) return now;
      throw Error(ErrorKind::kDeadlineExceeded,
                  fmt::format("run {} was told to stop, but has not within {}", run.id, format_duration(timeout)),
                  "it may still: virga runs; once more, virga stop ends it at once, with what its last checkpoint has");
    }
    std::this_thread::sleep_for(kLookInterval);
  }
}

int stop(const Stop& what, Session& session) {
  const auto timeout = parse_duration(what.timeout, "--timeout");
  const auto run = find_run(session.home(), what.which, RunChoice::kOnly);
  if (run.state == RunState::kDamaged) throw Error(ErrorKind::kCorrupt, fmt::format("run {}: {}", run.id, run.reason));
  if (run.state != RunState::kRunning) throw not_running(run);
  const bool on_functions = engine_of(run) != "single";
  const bool elsewhere = interrupt(run, on_functions);
  const auto ended = wait_for_end(run, session, timeout, elsewhere);
  const bool resumable = on_functions && ended.state != RunState::kFinished && left_work(run);
  const auto command = fmt::format("virga resume {}", name_of(run));
  if (session.json()) {
    session.print_json({{"run", run.id},
                        {"state", to_string(ended.state)},
                        {"reason", ended.reason.empty() ? json(nullptr) : json(ended.reason)},
                        {"resume", resumable ? json(command) : json(nullptr)}});
    return 0;
  }
  session.note(fmt::format("run {}: {}{}", run.id, to_string(ended.state),
                           ended.reason.empty() ? "" : fmt::format(" ({})", ended.reason)));
  if (resumable) session.note("to go on: " + command);
  return 0;
}

}  // namespace

void add_stop_command(Program& program) {
  auto what = std::make_shared<Stop>();
  auto& app = program.add(
      "Runs",
      {.name = "stop",
       .arguments = "RUN",
       .summary = "Stops a run that goes on elsewhere, as Ctrl-C would",
       .details = "The run finishes its round, writes a checkpoint and its best model, and ends; this waits for it. A "
                  "run on functions goes on with virga resume. A second virga stop ends it at once.",
       .examples = {{"virga stop last", "the newest run"}, {"virga stop first-try --timeout 10s", "wait no longer"}}},
      [what](Session& session) { return stop(*what, session); });
  app.add_option("RUN", what->which, "Run: id, its beginning, name, \"last\" or s3:// URI")->required();
  app.add_option("--timeout", what->timeout, "How long to wait until it has ended (default 60s)")->type_name("TIME");
}

}  // namespace virga
