#include "virga/engine/cgroup.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/engine/cgroup_divide.h"
#include "virga/engine/sandbox_watch.h"
#include "virga/net/descriptor.h"

namespace virga {

namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr const char* kSecondName[kControllers] = {"memory", "cpu", "", "pids"};

GroupFiles& files() {
  static GroupFiles of_the_kernel;
  return of_the_kernel;
}

[[noreturn]] void fail_to_write(const fs::path& path, std::string_view text, int error) {
  throw system_error(fmt::format("cannot write {} to {}", text, path.string()), error);
}

void write_limit(const fs::path& path, std::string_view text) {
  if (const int error = files().write(path, text); error != 0) fail_to_write(path, text, error);
}

std::optional<std::uint64_t> read_number(const fs::path& path) {
  const auto text = files().read(path);
  std::uint64_t number = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), number).ec != std::errc()) return std::nullopt;
  return number;
}

std::vector<pid_t> read_processes(const fs::path& group) {
  auto processes = process_numbers(files().read(group / "cgroup.procs"));
  std::erase(processes, 0);  // one that is in no namespace that we see
  return processes;
}

std::vector<fs::path> groups_in(const fs::path& folder) {
  std::vector<fs::path> groups;
  std::error_code error;
  for (auto at = fs::directory_iterator(folder, error); !error && at != fs::directory_iterator(); at.increment(error)) {
    std::error_code unknown;
    if (at->is_directory(unknown) && !at->is_symlink(unknown)) groups.push_back(at->path());
  }
  return groups;
}

/// Groups in groups first; kills who is in them.
void remove_with_all(const fs::path& group, int depth) {
  if (depth > 8) return;
  for (const auto& child : groups_in(group)) remove_with_all(child, depth + 1);
  for (int tries = 0; tries < 50; ++tries) {
    const auto processes = read_processes(group);
    for (const auto pid : processes) ::kill(pid, SIGKILL);
    if (const int error = files().remove(group, 20ms); error == 0 || error == ENOENT) return;
  }
}

bool is_alive(const GroupOwner& owner) {
  const auto facts = process_facts(owner.pid);
  return facts && facts->start == owner.start && facts->state != 'Z';
}

void sweep(const fs::path& folder, const GroupOwner& self, int depth, int& budget) {
  if (depth > 8) return;
  for (const auto& group : groups_in(folder)) {
    if (--budget < 0) return;
    const auto name = group.filename().string();
    const auto owner = group_owner(name);
    if (const auto aside = aside_owner(name);
        aside && aside->pid_namespace == self.pid_namespace && !is_alive(*aside)) {
      (void)files().remove(group, 0ms);  // if nobody is left in it
    } else if (!owner) {
      sweep(group, self, depth + 1, budget);
    } else if (owner->pid_namespace == self.pid_namespace && !is_alive(*owner)) {
      remove_with_all(group, 0);
    }
  }
}

}  // namespace

void sweep_groups(const fs::path& folder, const GroupOwner& self) {
  int budget = 10'000;  // folders looked at
  sweep(folder, self, 0, budget);
}

void ControlGroup::limit(const Limits& limits) const {
  const auto number = [](std::uint64_t value) { return std::to_string(value); };
  if (const auto& memory = at(Controller::kMemory); memory.version != 0 && limits.memory_bytes != 0) {
    const bool first = memory.version == 1;
    write_limit(memory.folder / (first ? "memory.limit_in_bytes" : "memory.max"), number(limits.memory_bytes));
    // Swap is no memory. Where the kernel does not count it, the next best is to use none.
    const auto swap = memory.folder / (first ? "memory.memsw.limit_in_bytes" : "memory.swap.max");
    if (files().write(swap, first ? number(limits.memory_bytes) : "0") != 0 && first) {
      (void)files().write(memory.folder / "memory.swappiness", "0");
    }
    if (!first) (void)files().write(memory.folder / "memory.oom.group", "1");
  }
  if (const auto& cpu = at(Controller::kCpu); cpu.version != 0 && limits.cpus > 0) {
    const auto quota = cpu_quota(limits.cpus);
    if (cpu.version == 1) {
      write_limit(cpu.folder / "cpu.cfs_period_us", number(quota.period_us));
      const auto file = cpu.folder / "cpu.cfs_quota_us";
      // The first version refuses more than a group above has, which then is the limit.
      if (const int error = files().write(file, number(quota.quota_us)); error == EINVAL) {
        write_limit(file, "-1");
      } else if (error != 0) {
        fail_to_write(file, number(quota.quota_us), error);
      }
    } else {
      write_limit(cpu.folder / "cpu.max", fmt::format("{} {}", quota.quota_us, quota.period_us));
    }
  }
  if (const auto& pids = at(Controller::kProcesses); pids.version != 0 && limits.processes != 0) {
    write_limit(pids.folder / "pids.max", number(limits.processes));
  }
}

void ControlGroup::free_cpu() const noexcept {
  const auto& cpu = at(Controller::kCpu);
  if (cpu.version == 0) return;
  try {
    (void)files().write(cpu.folder / (cpu.version == 1 ? "cpu.cfs_quota_us" : "cpu.max"),
                        cpu.version == 1 ? "-1" : "max");
  } catch (const std::exception&) {
    // No memory for a name: they die at their own pace.
  }
}

std::unique_ptr<ControlGroup> ControlGroup::none() { return std::unique_ptr<ControlGroup>(new ControlGroup()); }

bool ControlGroup::is_joined_by(Controller controller, const std::string& join_file) const {
  return at(controller).version != 0 && at(controller).folder / "cgroup.procs" == join_file;
}

std::vector<std::string> ControlGroup::join_files() const {
  std::vector<std::string> files;
  for (const auto& place : places_) {
    if (place.version == 0) continue;
    auto file = (place.folder / "cgroup.procs").string();
    if (std::ranges::find(files, file) == files.end()) files.push_back(std::move(file));
  }
  return files;
}

std::uint64_t ControlGroup::out_of_memory_kills() const {
  const auto& memory = at(Controller::kMemory);
  if (memory.version == 0) return 0;
  return number_after_key(files().read(memory.folder / (memory.version == 1 ? "memory.oom_control" : "memory.events")),
                          "oom_kill");
}

std::optional<std::uint64_t> ControlGroup::peak_memory_bytes() const {
  const auto& memory = at(Controller::kMemory);
  if (memory.version == 0) return std::nullopt;
  if (memory.version == 1) return read_number(memory.folder / "memory.max_usage_in_bytes");
  if (const auto peak = read_number(memory.folder / "memory.peak")) return peak;
  // Before Linux 5.19 only the most that can be is known, once the limit was met.
  const auto met = number_after_key(files().read(memory.folder / "memory.events"), "max");
  return met != 0 ? read_number(memory.folder / "memory.max") : std::nullopt;
}

std::optional<std::uint64_t> ControlGroup::memory_bytes() const {
  const auto& memory = at(Controller::kMemory);
  if (memory.version == 0) return std::nullopt;
  return read_number(memory.folder / (memory.version == 1 ? "memory.usage_in_bytes" : "memory.current"));
}

std::optional<std::chrono::nanoseconds> ControlGroup::cpu() const {
  if (const auto& first = at(Controller::kCpuAccounting); first.version == 1) {
    const auto used = read_number(first.folder / "cpuacct.usage");
    if (used) return std::chrono::nanoseconds(*used);
  }
  // In the second version every group counts, whatever controllers it has.
  const auto* const second = std::ranges::find(places_, 2, &Place::version);
  if (second == std::end(places_)) return std::nullopt;
  return std::chrono::microseconds(number_after_key(files().read(second->folder / "cpu.stat"), "usage_usec"));
}

std::optional<std::vector<pid_t>> ControlGroup::processes() const {
  for (const auto& place : places_) {
    if (place.version != 0) return read_processes(place.folder);
  }
  return std::nullopt;
}

bool ControlGroup::kill() const noexcept {
  for (const auto& place : places_) {
    if (place.version != 2) continue;
    const Descriptor file(::open((place.folder / "cgroup.kill").c_str(), O_WRONLY | O_CLOEXEC));
    if (file && ::write(file.get(), "1", 1) == 1) return true;
  }
  return false;
}

ControlGroup::~ControlGroup() {
  for (const auto& place : places_) {
    if (place.version != 0) (void)files().remove(place.folder, 1s);
  }
}

ControlGroups::ControlGroups(const std::string& name) {
  const auto self = owner_of_this_process();
  const auto mountinfo = files().read("/proc/self/mountinfo");
  const auto groups = files().read("/proc/self/cgroup");
  std::string controllers;
  for (const auto& mount : second_version_mounts(mountinfo)) {
    if (controllers.empty()) controllers = files().read(mount / "cgroup.controllers");
  }
  std::vector<fs::path> swept;
  Hierarchy second;
  std::vector<Controller> of_second;
  for (int i = 0; i < kControllers; ++i) {
    const auto controller = static_cast<Controller>(i);
    const auto hierarchy = find_hierarchy(controller, mountinfo, groups, controllers);
    if (hierarchy.version == 0) {
      if (controller != Controller::kCpuAccounting) {
        object(fmt::format("no control groups with the controller {} are mounted", kSecondName[i]));
      }
      continue;
    }
    if (std::ranges::find(swept, hierarchy.mount) == swept.end()) {
      sweep_groups(hierarchy.mount, self);
      swept.push_back(hierarchy.mount);
    }
    if (hierarchy.version == 1) {
      set_up_first(controller, hierarchy, group_name(name, self));
    } else {
      second = hierarchy;
      of_second.push_back(controller);
    }
  }
  if (!of_second.empty()) set_up_second(second, of_second, group_name(name, self), self);
}

void ControlGroups::object(std::string objection) {
  if (objection_.empty()) objection_ = std::move(objection);
}

void ControlGroups::set_up_first(Controller controller, const Hierarchy& hierarchy, const std::string& name) {
  const auto folder = hierarchy.current / name;
  if (const int error = files().make(folder); error != 0 && error != EEXIST) {
    return object(fmt::format("no group can be made in {}: {}", hierarchy.current.string(),
                              std::generic_category().message(error)));
  }
  places_[static_cast<int>(controller)] = {.version = 1, .folder = folder};
}

/// One place for all of them: a process is in one group of the second version.
void ControlGroups::set_up_second(const Hierarchy& hierarchy, const std::vector<Controller>& controllers,
                                  const std::string& name, const GroupOwner& self) {
  std::vector<std::string> wanted;
  for (const auto controller : controllers) wanted.emplace_back(kSecondName[static_cast<int>(controller)]);
  std::vector<pid_t> own{self.pid};
  for (const auto& process : descendants(self.pid)) own.push_back(process.pid);
  auto division = divide(files(), hierarchy, wanted, name, own, self);
  aside_ = std::move(division.aside);
  for (const auto controller : controllers) {
    const int i = static_cast<int>(controller);
    if (std::ranges::count(division.controllers, kSecondName[i]) != 0) places_[i] = {2, division.folder};
  }
  object(std::move(division.objection));
}

ControlGroups::~ControlGroups() {
  for (const auto& place : places_) {
    if (place.version != 0) (void)files().remove(place.folder, 1s);
  }
  if (!aside_.empty()) step_back(files(), aside_);
}

std::string ControlGroups::power(Controller controller) const {
  const int version = places_[static_cast<int>(controller)].version;
  return version == 0 ? "" : fmt::format("cgroup v{}", version);
}

void ControlGroups::forget(Controller controller, std::string objection) {
  const auto place = std::exchange(places_[static_cast<int>(controller)], {});
  const auto is_shared = std::ranges::any_of(
      places_, [&](const Place& other) { return other.version != 0 && other.folder == place.folder; });
  if (place.version != 0 && !is_shared) (void)files().remove(place.folder, 0ms);
  object(std::move(objection));
}

std::unique_ptr<ControlGroup> ControlGroups::make() {
  auto group = ControlGroup::none();
  const auto name = std::to_string(made_++);
  for (int i = 0; i < kControllers; ++i) {
    const auto& place = places_[i];
    if (place.version == 0) continue;
    const auto folder = place.folder / name;
    if (::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) {
      throw system_error(fmt::format("cannot make the control group {}", folder.string()), errno);
    }
    group->places_[i] = {.version = place.version, .folder = folder};
  }
  return group;
}

}  // namespace virga
