#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace virga {

// Control groups of Linux, first and second version, also both at once: whatever holds a controller here, below the
// group that this process is in, so that it works inside a container as well.

enum class Controller : std::uint8_t { kMemory, kCpu, kCpuAccounting, kProcesses };
inline constexpr int kControllers = 4;

/// A folder in which groups with a controller can be made.
struct Hierarchy {
  int version = 0;                ///< 1, 2; 0: none holds the controller
  std::filesystem::path mount;    ///< where the hierarchy is mounted
  std::filesystem::path current;  ///< the folder of this process's group
  bool operator==(const Hierarchy&) const = default;
};
/// Where `controller` is, from the texts of /proc/self/mountinfo and /proc/self/cgroup, and of "cgroup.controllers"
/// where the second version's hierarchy is mounted. In that version the accounting of processor time needs no
/// controller of its own and goes with kCpu.
[[nodiscard]] Hierarchy find_hierarchy(Controller controller, std::string_view mountinfo, std::string_view groups,
                                       std::string_view controllers);

/// Where the second version is mounted, from the text of /proc/self/mountinfo.
[[nodiscard]] std::vector<std::filesystem::path> second_version_mounts(std::string_view mountinfo);

/// Who has made a group, as its name says: "virga-NAME-NAMESPACE-PID-START".
struct GroupOwner {
  std::uint64_t pid_namespace = 0;
  pid_t pid = 0;
  std::uint64_t start = 0;  ///< of the process, in ticks since the machine's: a number may be given again
  bool operator==(const GroupOwner&) const = default;
};
[[nodiscard]] GroupOwner owner_of_this_process();
[[nodiscard]] std::string group_name(std::string_view name, const GroupOwner& owner);
/// Nothing if it is not such a name.
[[nodiscard]] std::optional<GroupOwner> group_owner(std::string_view group);

/// The number after `key` in "KEY NUMBER" lines, as most files of control groups have them; 0 if there is none.
[[nodiscard]] std::uint64_t number_after_key(std::string_view text, std::string_view key);

/// Quota and period of a share of processor time, in microseconds. The period is 10 ms: a program never waits longer.
/// The kernel knows no quota below 1 ms, so below a tenth of a processor the period is longer instead.
struct CpuQuota {
  std::uint64_t quota_us = 0;
  std::uint64_t period_us = 0;
  bool operator==(const CpuQuota&) const = default;
};
[[nodiscard]] CpuQuota cpu_quota(double cpus);

/// The groups of one sandbox, one for each controller there is. Removes them at its end, when they are empty by then.
class ControlGroup {
 public:
  struct Limits {
    std::uint64_t memory_bytes = 0;  ///< 0: none
    double cpus = 0;                 ///< 0: none
    std::uint64_t processes = 0;     ///< 0: none
  };
  /// Of no controller: nothing is limited, nothing counted.
  [[nodiscard]] static std::unique_ptr<ControlGroup> none();
  ~ControlGroup();
  ControlGroup(const ControlGroup&) = delete;
  ControlGroup& operator=(const ControlGroup&) = delete;

  /// Throws Error(kIo), naming the file.
  void limit(const Limits& limits) const;
  /// A process that writes "0" to each of them joins.
  [[nodiscard]] std::vector<std::string> join_files() const;
  [[nodiscard]] bool is_joined_by(Controller controller, const std::string& join_file) const;
  /// How often the kernel has killed for want of memory.
  [[nodiscard]] std::uint64_t out_of_memory_kills() const;
  /// Nothing where it is not counted (in the second version before Linux 5.19, as long as the limit has not been met).
  /// Page cache and files in /tmp are part of it.
  [[nodiscard]] std::optional<std::uint64_t> peak_memory_bytes() const;
  /// Now; nothing where it is not counted.
  [[nodiscard]] std::optional<std::uint64_t> memory_bytes() const;
  [[nodiscard]] std::optional<std::chrono::nanoseconds> cpu() const;
  /// Nothing where there is no group.
  [[nodiscard]] std::optional<std::vector<pid_t>> processes() const;
  /// Lifts the limit of processor time: what is killed needs some to die, and holds its memory until then.
  void free_cpu() const noexcept;
  /// Kills all in it; false where it cannot be done in one stroke.
  bool kill() const noexcept;

 private:
  friend class ControlGroups;
  ControlGroup() = default;
  struct Place {
    int version = 0;
    std::filesystem::path folder;
  };
  [[nodiscard]] const Place& at(Controller controller) const { return places_[static_cast<int>(controller)]; }

  Place places_[kControllers];
};

/// What control groups this machine lets us make. Removes those of owners that have died, and the processes in them. In
/// the second version this process may be put into another group as long as this lives (cgroup_divide.h).
class ControlGroups {
 public:
  explicit ControlGroups(const std::string& name);
  ~ControlGroups();
  ControlGroups(const ControlGroups&) = delete;
  ControlGroups& operator=(const ControlGroups&) = delete;

  /// "cgroup v1", "cgroup v2", "" where there is none.
  [[nodiscard]] std::string power(Controller controller) const;
  /// Why there is not more of it, for people; "" if all there could be is there.
  [[nodiscard]] const std::string& objection() const noexcept { return objection_; }
  /// Does without `controller` from now on, because of `objection`.
  void forget(Controller controller, std::string objection);
  /// Throws Error(kIo).
  [[nodiscard]] std::unique_ptr<ControlGroup> make();

 private:
  struct Place {
    int version = 0;
    std::filesystem::path folder;  // of this owner
  };
  void set_up_first(Controller controller, const Hierarchy& hierarchy, const std::string& name);
  void set_up_second(const Hierarchy& hierarchy, const std::vector<Controller>& controllers, const std::string& name,
                     const GroupOwner& self);
  void object(std::string objection);

  Place places_[kControllers];
  std::filesystem::path aside_;  // where this process is, to leave room for those places; empty: it was not moved
  std::string objection_;
  std::uint64_t made_ = 0;
};

/// Removes what dead owners have left below `folder`, with the processes in it.
void sweep_groups(const std::filesystem::path& folder, const GroupOwner& self);

}  // namespace virga
