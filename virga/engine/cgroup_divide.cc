#include "virga/engine/cgroup_divide.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "virga/net/descriptor.h"

namespace virga {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

std::string GroupFiles::read(const fs::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return {};
  std::string text;
  std::array<char, 4096> part;
  for (ssize_t count = 0; (count = ::read(file.get(), part.data(), part.size())) > 0;) {
    text.append(part.data(), static_cast<std::size_t>(count));
  }
  return text;
}

int GroupFiles::write(const fs::path& path, std::string_view text) {
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return errno;
  return ::write(file.get(), text.data(), text.size()) < 0 ? errno : 0;
}

int GroupFiles::make(const fs::path& group) { return ::mkdir(group.c_str(), 0755) == 0 ? 0 : errno; }

int GroupFiles::remove(const fs::path& group, std::chrono::milliseconds patience) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (::rmdir(group.c_str()) != 0) {
    if (errno != EBUSY || std::chrono::steady_clock::now() >= end) return errno;
    std::this_thread::sleep_for(1ms);
  }
  return 0;
}

std::vector<pid_t> process_numbers(std::string_view text) {
  std::vector<pid_t> processes;
  const char* const end = text.data() + text.size();
  pid_t pid = 0;
  for (const char* at = text.data(); at != end; ++at) {
    const auto result = std::from_chars(at, end, pid);
    if (result.ec != std::errc()) break;
    processes.push_back(pid);
    at = result.ptr;
    if (at == end) break;
  }
  return processes;
}

namespace {

bool holds_word(std::string_view text, std::string_view word) {
  while (!text.empty()) {
    const auto end = std::min(text.find_first_of(" \n"), text.size());
    if (text.substr(0, end) == word) return true;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return false;
}

class Divider {
 public:
  Divider(GroupFiles& files, const std::vector<std::string>& wanted, const std::string& name,
          const std::vector<pid_t>& own, const GroupOwner& self)
      : files_(files), wanted_(wanted), name_(name), own_(own), self_(self) {}

  Division divide(const Hierarchy& hierarchy) {
    auto base = hierarchy.current;
    if (const auto owner = aside_owner(base.filename().string()); owner && base != hierarchy.mount) {
      if (*owner == self_) best_.aside = base;  // the last one puts it back
      base = base.parent_path();
    }
    const auto first = base;
    try_in(base);
    if (best_.controllers.size() < offered(base).size() && best_.aside.empty() && step_aside(base)) try_in(base);
    while (best_.controllers.size() < wanted_.size() && base != hierarchy.mount && base.has_relative_path()) {
      base = base.parent_path();
      try_in(base);
    }
    if (!stepped_.empty() && best_.folder.parent_path() == first) {
      best_.aside = stepped_;
    } else if (!stepped_.empty()) {
      step_back(files_, stepped_);
    }
    best_.objection = best_.controllers.size() < wanted_.size() ? objection_ : "";
    return best_;
  }

 private:
  std::vector<std::string> offered(const fs::path& base) {
    const auto text = files_.read(base / "cgroup.controllers");
    std::vector<std::string> controllers;
    std::ranges::copy_if(wanted_, std::back_inserter(controllers),
                         [&](const auto& controller) { return holds_word(text, controller); });
    return controllers;
  }

  void try_in(const fs::path& base) {
    const auto controllers = offered(base);
    if (controllers.size() < wanted_.size()) {
      object("{} has not all of the controllers {}: the groups above it do not hand them on", base.string(),
             fmt::join(wanted_, ", "));
    }
    if (controllers.size() <= best_.controllers.size()) return;
    // All in one stroke: of a group that holds processes the kernel refuses memory, but cpu and pids would make its
    // threads groups of their own, with no place for further processes below.
    const auto before = files_.read(base / "cgroup.subtree_control");
    std::string on;
    std::string off;
    for (const auto& controller : controllers) {
      if (holds_word(before, controller)) continue;
      on += fmt::format("{}+{}", on.empty() ? "" : " ", controller);
      off += fmt::format("{}-{}", off.empty() ? "" : " ", controller);
    }
    if (const int error = on.empty() ? 0 : files_.write(base / "cgroup.subtree_control", on); error != 0) {
      off.clear();
      if (error != EBUSY)
        object("{} cannot hand {} on: {}", base.string(), fmt::join(controllers, ", "), reason(error));
    }
    const auto folder = base / name_;
    if (const int error = files_.make(folder); error != 0 && error != EEXIST) {
      object("no group can be made in {}: {}", base.string(), reason(error));
      return give_up(folder, off);
    }
    const auto there = files_.read(folder / "cgroup.controllers");
    std::vector<std::string> handed_on;
    for (const auto& controller : controllers) {
      if (!holds_word(there, controller)) continue;
      if (files_.write(folder / "cgroup.subtree_control", "+" + controller) == 0) handed_on.push_back(controller);
    }
    if (handed_on.size() <= best_.controllers.size()) return give_up(folder, off);
    give_up(best_.folder, off_of_best_);
    best_.folder = folder;
    best_.controllers = handed_on;
    off_of_best_ = off;
  }

  void give_up(const fs::path& folder, const std::string& off) {
    if (folder.empty()) return;
    (void)files_.remove(folder, 1s);
    if (!off.empty()) (void)files_.write(folder.parent_path() / "cgroup.subtree_control", off);
  }

  /// False, and all is as it was, if somebody else is in there.
  bool step_aside(const fs::path& base) {
    const auto there = process_numbers(files_.read(base / "cgroup.procs"));
    if (there.empty()) return false;
    if (!std::ranges::all_of(there, [this](pid_t pid) { return std::ranges::count(own_, pid) != 0; })) {
      object("{} holds other processes besides this one, so it cannot hand controllers on", base.string());
      return false;
    }
    const auto aside = base / aside_name(self_);
    if (const int error = files_.make(aside); error != 0 && error != EEXIST) return false;
    stepped_ = aside;
    for (const auto pid : there) {
      const int error = files_.write(aside / "cgroup.procs", std::to_string(pid));
      if (error == 0 || error == ESRCH) continue;  // it has ended
      object("this process cannot be put into {}: {}", aside.string(), reason(error));
      return false;
    }
    return true;
  }

  template <class... Arguments>
  void object(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    if (objection_.empty()) objection_ = fmt::format(format, std::forward<Arguments>(arguments)...);
  }
  static std::string reason(int error) { return std::generic_category().message(error); }

  GroupFiles& files_;
  const std::vector<std::string>& wanted_;
  const std::string& name_;
  const std::vector<pid_t>& own_;
  const GroupOwner& self_;
  fs::path stepped_;
  std::string objection_;  // the first, of the group that is nearest
  Division best_;
  std::string off_of_best_;  // takes back what the group above it was made to hand on
};

}  // namespace

Division divide(GroupFiles& files, const Hierarchy& hierarchy, const std::vector<std::string>& wanted,
                const std::string& name, const std::vector<pid_t>& own, const GroupOwner& self) {
  return Divider(files, wanted, name, own, self).divide(hierarchy);
}

void step_back(GroupFiles& files, const fs::path& aside) {
  const auto base = aside.parent_path();
  // It handed nothing on before, for it held processes. A group that divides on keeps its controllers: then this fails.
  auto handed_on = files.read(base / "cgroup.subtree_control");
  while (handed_on.ends_with('\n')) handed_on.pop_back();
  if (!handed_on.empty()) {
    std::string none = "-";
    for (const char letter : handed_on) none += letter == ' ' ? std::string(" -") : std::string(1, letter);
    if (files.write(base / "cgroup.subtree_control", none) != 0) return;
  }
  for (const auto pid : process_numbers(files.read(aside / "cgroup.procs"))) {
    (void)files.write(base / "cgroup.procs", std::to_string(pid));
  }
  (void)files.remove(aside, 1s);
}

}  // namespace virga
