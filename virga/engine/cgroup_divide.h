#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "virga/engine/cgroup.h"

namespace virga {

// Control groups of the second version form one tree, in which a process is in one group. A group hands controllers on
// to the groups below it ("cgroup.subtree_control") if it has them itself and holds no process; only the root of the
// tree may do both. Source: Documentation/admin-guide/cgroup-v2.rst of Linux, "Organizing Processes and Threads".

/// The files of control groups. Whoever tests has others.
class GroupFiles {
 public:
  virtual ~GroupFiles() = default;
  [[nodiscard]] virtual std::string read(const std::filesystem::path& file);  ///< "" if it cannot be read
  /// These give 0 or errno.
  virtual int write(const std::filesystem::path& file, std::string_view text);
  virtual int make(const std::filesystem::path& group);
  /// A group is busy for a moment after its last process has ended; waits `patience` for that.
  virtual int remove(const std::filesystem::path& group, std::chrono::milliseconds patience);
};

/// A group that hands controllers on to the groups that are made in it.
struct Division {
  std::filesystem::path folder;          ///< empty: there is none
  std::vector<std::string> controllers;  ///< that it hands on
  /// Where this process has been put, to leave room for `folder` beside it; empty: it stays where it was.
  std::filesystem::path aside;
  std::string objection;  ///< for people: why it is not all that was wanted
};

/// Makes the group `name` where it hands on most of the controllers `wanted`: in the group of this process, and if that
/// does not do, in those above. If the group holds `own` processes alone (this one and those that it has started), they
/// are first put into a group of their own in it, named as aside_name() says. `hierarchy`: of the second version.
[[nodiscard]] Division divide(GroupFiles& files, const Hierarchy& hierarchy, const std::vector<std::string>& wanted,
                              const std::string& name, const std::vector<pid_t>& own, const GroupOwner& self);

/// Puts the processes in `aside` back, and removes it. Does nothing if others still divide the group that it is in.
void step_back(GroupFiles& files, const std::filesystem::path& aside);

/// "virga_aside-NAMESPACE-PID-START". Not a group_name(): what is in it is nobody's to kill.
[[nodiscard]] std::string aside_name(const GroupOwner& owner);
[[nodiscard]] std::optional<GroupOwner> aside_owner(std::string_view group);

/// "0" (a process of which this one cannot see the number) included.
[[nodiscard]] std::vector<pid_t> process_numbers(std::string_view text);

}  // namespace virga
