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
#include "virga/engine/sandbox_watch.h"
#include "virga/net/descriptor.h"

namespace virga {

namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr const char* kSecondName[kControllers] = {"memory", "cpu", "", "pids"};

std::string read_text(const fs::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return {};
  std::string text;
  std::array<char, 4096> part;
  for (ssize_t count = 0; (count = ::read(file.get(), part.data(), part.size())) > 0;) {
    text.append(part.data(), static_cast<std::size_t>(count));
  }
  return text;
}

/// 0, or why it could not be written.
int write_text(const fs::path& path, std::string_view text) {
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return errno;
  return ::write(file.get(), text.data(), text.size()) < 0 ? errno : 0;
}

void write_limit(const fs::path& path, std::string_view text) {
  if (const int error = write_text(path, text); error != 0) {
    throw system_error(fmt::format("cannot write {} to {}", text, path.string()), error);
  }
}

std::optional<std::uint64_t> read_number(const fs::path& path) {
  const auto text = read_text(path);
  std::uint64_t number = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), number).ec != std::errc()) return std::nullopt;
  return number;
}

std::vector<pid_t> read_processes(const fs::path& group) {
  const auto text = read_text(group / "cgroup.procs");
  std::vector<pid_t> processes;
  const char* at = text.data();
  const char* const end = at + text.size();
  for (pid_t pid = 0; at != end; ++at) {
    const auto result = std::from_chars(at, end, pid);
    if (result.ec != std::errc()) break;
    if (pid > 0) processes.push_back(pid);  // 0: one that is in no namespace that we see
    at = result.ptr;
    if (at == end) break;
  }
  return processes;
}

/// A group is busy for a moment after its last process has ended.
bool remove_group(const fs::path& group, std::chrono::milliseconds patience) noexcept {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (::rmdir(group.c_str()) != 0) {
    if (errno != EBUSY || std::chrono::steady_clock::now() >= end) return errno == ENOENT;
    std::this_thread::sleep_for(1ms);
  }
  return true;
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
    if (remove_group(group, 20ms)) return;
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
    const auto owner = group_owner(group.filename().string());
    if (!owner) {
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
    if (write_text(swap, first ? number(limits.memory_bytes) : "0") != 0 && first) {
      (void)write_text(memory.folder / "memory.swappiness", "0");
    }
    if (!first) (void)write_text(memory.folder / "memory.oom.group", "1");
  }
  if (const auto& cpu = at(Controller::kCpu); cpu.version != 0 && limits.cpus > 0) {
    const auto quota = cpu_quota(limits.cpus);
    if (cpu.version == 1) {
      write_limit(cpu.folder / "cpu.cfs_period_us", number(quota.period_us));
      write_limit(cpu.folder / "cpu.cfs_quota_us", number(quota.quota_us));
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
    (void)write_text(cpu.folder / (cpu.version == 1 ? "cpu.cfs_quota_us" : "cpu.max"), cpu.version == 1 ? "-1" : "max");
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
  return number_after_key(read_text(memory.folder / (memory.version == 1 ? "memory.oom_control" : "memory.events")),
                          "oom_kill");
}

std::optional<std::uint64_t> ControlGroup::peak_memory_bytes() const {
  const auto& memory = at(Controller::kMemory);
  if (memory.version == 0) return std::nullopt;
  if (memory.version == 1) return read_number(memory.folder / "memory.max_usage_in_bytes");
  const auto peak = read_number(memory.folder / "memory.peak");
  return peak ? peak : read_number(memory.folder / "memory.current");
}

std::optional<std::chrono::nanoseconds> ControlGroup::cpu() const {
  if (const auto& first = at(Controller::kCpuAccounting); first.version == 1) {
    const auto used = read_number(first.folder / "cpuacct.usage");
    if (used) return std::chrono::nanoseconds(*used);
  }
  const auto& second = at(Controller::kCpu);
  if (second.version != 2) return std::nullopt;
  return std::chrono::microseconds(number_after_key(read_text(second.folder / "cpu.stat"), "usage_usec"));
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
    if (place.version != 0) remove_group(place.folder, 1s);
  }
}

ControlGroups::ControlGroups(const std::string& name) {
  const auto self = owner_of_this_process();
  const auto mountinfo = read_text("/proc/self/mountinfo");
  const auto groups = read_text("/proc/self/cgroup");
  std::string controllers;
  for (const auto* root : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
    if (controllers.empty()) controllers = read_text(fs::path(root) / "cgroup.controllers");
  }
  std::vector<fs::path> swept;
  for (int i = 0; i < kControllers; ++i) {
    const auto hierarchy = find_hierarchy(static_cast<Controller>(i), mountinfo, groups, controllers);
    if (hierarchy.version == 0) continue;
    if (std::ranges::find(swept, hierarchy.mount) == swept.end()) {
      sweep_groups(hierarchy.mount, self);
      swept.push_back(hierarchy.mount);
    }
    set_up(static_cast<Controller>(i), hierarchy, group_name(name, self));
  }
}

void ControlGroups::set_up(Controller controller, const Hierarchy& hierarchy, const std::string& name) {
  auto& place = places_[static_cast<int>(controller)];
  const auto made = [](const fs::path& folder) { return ::mkdir(folder.c_str(), 0755) == 0 || errno == EEXIST; };
  if (hierarchy.version == 1) {
    const auto folder = hierarchy.current / name;
    if (made(folder)) place = {.version = 1, .folder = folder};
    return;
  }
  // In the second version a group that holds processes hands no controller on, so it may have to be one further up.
  const std::string wanted = kSecondName[static_cast<int>(controller)];
  if (wanted.empty()) return;
  const auto has = [&wanted](const fs::path& folder) {
    const auto text = read_text(folder / "cgroup.controllers");
    return (" " + text.substr(0, text.find('\n')) + " ").find(" " + wanted + " ") != std::string::npos;
  };
  for (auto base = hierarchy.current;; base = base.parent_path()) {
    (void)write_text(base / "cgroup.subtree_control", "+" + wanted);
    const auto folder = base / name;
    if (made(folder)) {
      if (has(folder) && write_text(folder / "cgroup.subtree_control", "+" + wanted) == 0) {
        place = {.version = 2, .folder = folder};
        return;
      }
      ::rmdir(folder.c_str());  // refused if another controller's group is in use: the same folder
    }
    if (base == hierarchy.mount || !base.has_relative_path()) return;
  }
}

ControlGroups::~ControlGroups() {
  for (const auto& place : places_) {
    if (place.version != 0) remove_group(place.folder, 1s);
  }
}

std::string ControlGroups::power(Controller controller) const {
  const int version = places_[static_cast<int>(controller)].version;
  return version == 0 ? "" : fmt::format("cgroup v{}", version);
}

void ControlGroups::forget(Controller controller) {
  auto& place = places_[static_cast<int>(controller)];
  if (place.version != 0) ::rmdir(place.folder.c_str());
  place = {};
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
