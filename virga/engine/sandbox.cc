#include "virga/engine/sandbox.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <system_error>
#include <utility>

#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "virga/base/error.h"
#include "virga/engine/cgroup.h"
#include "virga/engine/sandbox_forge.h"
#include "virga/engine/sandbox_plan.h"
#include "virga/engine/sandbox_process.h"

namespace virga {

namespace {

namespace init = sandbox_init;
using init::Step;
constexpr const char* kNamespace = "namespace";

std::uint64_t clone_flags(const SandboxPowers& powers) {
  std::uint64_t flags = 0;
  if (powers.network == kNamespace) flags |= CLONE_NEWNET;
  if (powers.files == kNamespace) flags |= CLONE_NEWNS;
  if (powers.pids == kNamespace) flags |= CLONE_NEWPID;
  if (flags == 0) return 0;
  flags |= CLONE_NEWIPC | CLONE_NEWUTS;
  return ::geteuid() == 0 ? flags : flags | CLONE_NEWUSER;
}

/// Before Linux 5.14 RLIMIT_NPROC counts all processes of a user, whatever namespace they are in.
bool has_rlimit_of_namespaces() {
  utsname name{};
  unsigned major = 0;
  unsigned minor = 0;
  if (::uname(&name) != 0) return false;
  const std::string_view release = name.release;
  const auto* const end = release.data() + release.size();
  const auto dot = std::from_chars(release.data(), end, major);
  if (dot.ec != std::errc() || dot.ptr == end) return false;
  std::from_chars(dot.ptr + 1, end, minor);
  return major > 5 || (major == 5 && minor >= 14);
}

std::string_view name_of(Step step) {
  switch (step) {
    case Step::kNone:
      return "nothing";
    case Step::kClone:
      return "fork";
    case Step::kUser:
      return "set up the namespace of users";
    case Step::kGroup:
      return "join the control groups";
    case Step::kLoopback:
      return "bring the loopback interface up";
    case Step::kPrivateMounts:
      return "make the mounts private";
    case Step::kReadOnly:
      return "make all files read-only";
    case Step::kCover:
      return "cover /tmp and /run";
    case Step::kShow:
      return "mount a folder that the program is to see";
    case Step::kDevice:
      return "mount the devices";
    case Step::kProc:
      return "mount /proc";
    case Step::kListen:
      return "listen at a port";
    case Step::kPlan:
      return "read its plan";
    case Step::kLimits:
      return "set its limits of files and processes";
    case Step::kPrivileges:
      return "drop its privileges";
    case Step::kFolder:
      return "enter its working folder";
    case Step::kExec:
      return "run the program";
  }
  return "do something unknown";
}

[[noreturn]] void throw_failure(const init::Failure& failure, const SandboxSpec& spec) {
  const auto what = fmt::format("the sandbox of {} could not {}", spec.program.string(), name_of(failure.step));
  if (failure.step != Step::kExec) throw system_error(what, failure.error);
  throw Error(ErrorKind::kNotFound,
              fmt::format("{}: not a program that can be run: {}", spec.program.string(),
                          std::generic_category().message(failure.error)),
              "a program needs the right to be executed, the machine's own format, and the loader or interpreter that "
              "it names");
}

}  // namespace

std::string describe(const SandboxPowers& powers) {
  std::vector<std::pair<std::string, std::vector<std::string_view>>> ways;  // in the order in which they are met
  std::vector<std::string_view> missing;
  const auto add = [&](std::string_view what, std::string_view how) {
    if (how.empty()) return missing.push_back(what);
    const auto way = how == kNamespace  ? std::string("by namespaces")
                     : how == "watched" ? std::string("watched")
                                        : fmt::format("by {}", how);
    auto at = std::ranges::find(ways, way, &decltype(ways)::value_type::first);
    if (at == ways.end()) at = ways.insert(at, {way, {}});
    at->second.push_back(what);
  };
  add("memory", powers.memory);
  add("cpu", powers.cpu);
  add("processes", powers.processes);
  add("network", powers.network);
  add("files", powers.files);
  add("pids", powers.pids);
  if (!missing.empty()) ways.emplace_back("not held", missing);
  std::string text;
  for (const auto& [way, things] : ways) {
    if (!text.empty()) text += "; ";
    for (std::size_t i = 0; i < things.size(); ++i) {
      text += fmt::format("{}{}", i == 0 ? "" : i + 1 == things.size() ? " and " : ", ", things[i]);
    }
    text += " " + way;
  }
  return text;
}

class SandboxMaker::Impl {
 public:
  Impl(const std::string& name, Want want) {
    if (want == Want::kAll) groups_ = std::make_unique<ControlGroups>(name);
    if (want == Want::kAll) powers_ = {.network = kNamespace, .files = kNamespace, .pids = kNamespace};
    if (groups_ != nullptr) try_limits();
    while (!try_out()) {
    }
    prepare_spare();
  }

  [[nodiscard]] const SandboxPowers& powers() const noexcept { return powers_; }
  [[nodiscard]] std::unique_ptr<Sandbox> start(const SandboxSpec& wanted);

 private:
  void name_limits();
  void try_limits();
  [[nodiscard]] bool try_out();
  void do_without(const init::Failure& failure, const PreparedSandbox& sandbox);
  [[nodiscard]] std::unique_ptr<PreparedSandbox> prepare();
  void prepare_spare();

  SandboxPowers powers_;
  std::unique_ptr<ControlGroups> groups_;  // null: wants none
  Forge forge_;
  std::unique_ptr<PreparedSandbox> spare_;
};

void SandboxMaker::Impl::name_limits() {
  const auto by_group = [this](Controller controller) { return groups_ ? groups_->power(controller) : std::string(); };
  powers_.memory = by_group(Controller::kMemory);
  if (powers_.memory.empty()) powers_.memory = "watched";
  powers_.cpu = by_group(Controller::kCpu);
  powers_.processes = by_group(Controller::kProcesses);
  powers_.objection = groups_ ? groups_->objection() : std::string();
  // In a namespace of users the limit counts what is in it; else it would count all processes of the user, and root's
  // are not held to it.
  if (powers_.processes.empty() && (clone_flags(powers_) & CLONE_NEWUSER) != 0 && has_rlimit_of_namespaces()) {
    powers_.processes = "rlimit";
  }
}

/// A group may be made and yet not take a limit.
void SandboxMaker::Impl::try_limits() {
  const std::pair<Controller, ControlGroup::Limits> limits[] = {
      {Controller::kMemory, {.memory_bytes = 64 << 20}},
      {Controller::kCpu, {.cpus = 0.1}},
      {Controller::kProcesses, {.processes = 16}},
  };
  for (const auto& [controller, limit] : limits) {
    std::string objection;
    try {
      groups_->make()->limit(limit);
    } catch (const Error& error) {
      objection = error.what();
    }
    if (!objection.empty()) groups_->forget(controller, objection);
  }
}

/// All that a sandbox does, without a program. False if something had to be given up.
bool SandboxMaker::Impl::try_out() {
  name_limits();
  const auto sandbox = prepare();
  auto failure = sandbox->wait_ready();
  if (failure.step == Step::kNone) {
    const SandboxSpec trial{.program = "/", .working_folder = "/"};
    failure = sandbox->start(encode_plan(trial, powers_, true), 0).failure;
  }
  if (failure.step == Step::kNone) return true;
  do_without(failure, *sandbox);
  return false;
}

void SandboxMaker::Impl::do_without(const init::Failure& failure, const PreparedSandbox& sandbox) {
  const auto give_up = [&](std::string& power) {
    if (power.empty()) throw_failure(failure, {.program = "a trial"});
    power.clear();
  };
  switch (failure.step) {
    case Step::kGroup: {
      const auto files = sandbox.group().join_files();
      const auto& file = files.at(failure.detail);
      for (int i = 0; i < kControllers; ++i) {
        if (!sandbox.group().is_joined_by(static_cast<Controller>(i), file)) continue;
        groups_->forget(static_cast<Controller>(i), fmt::format("no process can be put into the group of {}: {}", file,
                                                                std::generic_category().message(failure.error)));
      }
      return;
    }
    case Step::kLoopback:
      return give_up(powers_.network);
    case Step::kPrivateMounts:
    case Step::kReadOnly:
    case Step::kCover:
    case Step::kShow:
    case Step::kDevice:
      return give_up(powers_.files);
    case Step::kProc:
      return give_up(powers_.pids);
    case Step::kClone:
    case Step::kUser:
      // Namespaces are refused as a whole, as a rule; which one it was is not said. So: one after the other.
      if (!powers_.network.empty()) return give_up(powers_.network);
      if (!powers_.pids.empty()) return give_up(powers_.pids);
      return give_up(powers_.files);
    default:
      throw_failure(failure, {.program = "a trial"});
  }
}

std::unique_ptr<PreparedSandbox> SandboxMaker::Impl::prepare() {
  auto group = groups_ ? groups_->make() : ControlGroup::none();
  return forge_.prepare(std::move(group), clone_flags(powers_));
}

void SandboxMaker::Impl::prepare_spare() {
  try {
    spare_ = prepare();
  } catch (const Error&) {
    spare_ = nullptr;  // start() tries again, and says so
  }
}

std::unique_ptr<Sandbox> SandboxMaker::Impl::start(const SandboxSpec& wanted) {
  auto spec = resolve(wanted);
  std::vector<Descriptor> listeners;
  auto ports = spec.listen;
  if (powers_.network.empty()) listeners = listen_at_free_ports(ports);
  for (const auto& [name, index] : spec.address_variables) {
    spec.environment[name] = fmt::format("127.0.0.1:{}", ports[index]);
  }
  const auto plan = encode_plan(spec, powers_, false);
  // The spare one may have been killed meanwhile, and the forge with it; a forge that is about to die may still take an
  // order, and only the one after that finds it gone.
  auto sandbox = spare_ != nullptr ? std::exchange(spare_, nullptr) : prepare();
  for (int again = 0; again < 2 && sandbox->wait_ready().step != Step::kNone; ++again) sandbox = prepare();
  if (const auto ready = sandbox->wait_ready(); ready.step != Step::kNone) throw_failure(ready, spec);
  // The init is a process too.
  sandbox->group().limit({.memory_bytes = spec.memory_bytes, .cpus = spec.cpus, .processes = spec.most_processes + 1});
  auto started = sandbox->start(plan, powers_.network.empty() ? 0 : spec.listen.size());
  if (started.failure.step != Step::kNone) throw_failure(started.failure, spec);
  if (!powers_.network.empty()) listeners = std::move(started.listeners);
  prepare_spare();
  return std::make_unique<SandboxProcess>(std::move(sandbox), started.program, std::move(listeners),
                                          powers_.memory == "watched" ? spec.memory_bytes : 0);
}

// NOLINTNEXTLINE(performance-unnecessary-value-param): the signature leaves room for a maker that keeps it
SandboxMaker::SandboxMaker(std::string name, Want want) : impl_(std::make_unique<Impl>(name, want)) {}
SandboxMaker::~SandboxMaker() = default;
const SandboxPowers& SandboxMaker::powers() const noexcept { return impl_->powers(); }
std::unique_ptr<Sandbox> SandboxMaker::start(const SandboxSpec& spec) { return impl_->start(spec); }

}  // namespace virga
