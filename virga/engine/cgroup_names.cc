#include <algorithm>
#include <charconv>
#include <cmath>

#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "virga/base/bytes.h"
#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/engine/cgroup.h"
#include "virga/engine/cgroup_divide.h"
#include "virga/engine/sandbox_watch.h"

namespace virga {

namespace {

constexpr std::string_view kNames[kControllers] = {"memory", "cpu", "cpuacct", "pids"};
constexpr std::string_view kAside = "virga_aside";

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const auto end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

bool holds(std::string_view list, std::string_view word, char separator) {
  return std::ranges::count(split(list, separator), word) != 0;
}

/// In mountinfo a space is "\040".
std::string unescape(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned code = 0;
    if (text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 4, code, 8).ptr == text.data() + i + 4 && code < 256) {
      plain.push_back(static_cast<char>(code));
      i += 3;
    } else {
      plain.push_back(text[i]);
    }
  }
  return plain;
}

struct Mount {
  std::string root, point, type;
  std::string_view options;
};
/// A line of mountinfo: ID PARENT DEVICE ROOT POINT OPTIONS [FIELD...] - TYPE SOURCE SUPER_OPTIONS.
std::optional<Mount> parse_mount(std::string_view line) {
  const auto fields = split(line, ' ');
  const auto dash = std::ranges::find(fields, "-");
  if (fields.size() < 6 || fields.end() - dash < 4) return std::nullopt;
  return Mount{
      .root = unescape(fields[3]), .point = unescape(fields[4]), .type = std::string(dash[1]), .options = dash[3]};
}

/// The folder of group `path` where the part of the hierarchy below `root` is mounted.
std::filesystem::path folder_of(const Mount& mount, std::string_view path) {
  std::filesystem::path folder = mount.point;
  const std::string_view root = mount.root == "/" ? std::string_view() : std::string_view(mount.root);
  if (!path.starts_with(root) || path.substr(root.size()).starts_with("/..")) return folder;
  path.remove_prefix(root.size());
  while (path.starts_with('/')) path.remove_prefix(1);
  return path.empty() ? folder : folder / path;
}

/// The path of the group in a line "ID:CONTROLLERS:PATH" with that controller ("": of the second version).
std::optional<std::string_view> path_of(std::string_view groups, std::string_view controller) {
  for (const auto line : split(groups, '\n')) {
    const auto first = line.find(':');
    const auto second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    if (holds(line.substr(first + 1, second - first - 1), controller, ',')) return line.substr(second + 1);
  }
  return std::nullopt;
}

template <class Number>
bool parse(std::string_view text, Number& number) {
  const auto result = std::from_chars(text.data(), text.data() + text.size(), number);
  return result.ec == std::errc() && result.ptr == text.data() + text.size();
}

/// The last three parts of a name, of four or more.
std::optional<GroupOwner> parse_owner(const std::vector<std::string_view>& parts) {
  const auto last = parts.end();
  GroupOwner owner;
  const bool parsed =
      parse(last[-3], owner.pid_namespace) && parse(last[-2], owner.pid) && parse(last[-1], owner.start);
  return parsed && owner.pid > 0 ? std::optional(owner) : std::nullopt;
}

}  // namespace

Hierarchy find_hierarchy(Controller controller, std::string_view mountinfo, std::string_view groups,
                         std::string_view controllers) {
  const auto name = kNames[static_cast<int>(controller)];
  Hierarchy second;
  while (controllers.ends_with('\n')) controllers.remove_suffix(1);
  for (const auto line : split(mountinfo, '\n')) {
    const auto mount = parse_mount(line);
    if (!mount) continue;
    if (mount->type == "cgroup" && holds(mount->options, name, ',')) {
      if (const auto path = path_of(groups, name)) return {1, mount->point, folder_of(*mount, *path)};
    }
    if (mount->type == "cgroup2" && second.version == 0 && holds(controllers, name, ' ')) {
      if (const auto path = path_of(groups, "")) second = {2, mount->point, folder_of(*mount, *path)};
    }
  }
  return second;
}

std::vector<std::filesystem::path> second_version_mounts(std::string_view mountinfo) {
  std::vector<std::filesystem::path> points;
  for (const auto line : split(mountinfo, '\n')) {
    const auto mount = parse_mount(line);
    if (mount && mount->type == "cgroup2") points.emplace_back(mount->point);
  }
  return points;
}

GroupOwner owner_of_this_process() {
  struct stat status {};
  const bool known = ::stat("/proc/self/ns/pid", &status) == 0;
  return {.pid_namespace = known ? status.st_ino : 0,
          .pid = ::getpid(),
          .start = process_facts(::getpid()).value_or(ProcessFacts{}).start};
}

std::string group_name(std::string_view name, const GroupOwner& owner) {
  return fmt::format("virga-{}-{}-{}-{}", name, owner.pid_namespace, owner.pid, owner.start);
}

std::string aside_name(const GroupOwner& owner) {
  return fmt::format("{}-{}-{}-{}", kAside, owner.pid_namespace, owner.pid, owner.start);
}

std::optional<GroupOwner> group_owner(std::string_view group) {
  const auto parts = split(group, '-');
  return parts.size() < 5 || parts[0] != "virga" ? std::nullopt : parse_owner(parts);
}

std::optional<GroupOwner> aside_owner(std::string_view group) {
  const auto parts = split(group, '-');
  return parts.size() != 4 || parts[0] != kAside ? std::nullopt : parse_owner(parts);
}

std::uint64_t number_after_key(std::string_view text, std::string_view key) {
  std::uint64_t number = 0;
  for (const auto line : split(text, '\n')) {
    if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == ' ') {
      (void)parse(line.substr(key.size() + 1), number);
    }
  }
  return number;
}

CpuQuota cpu_quota(double cpus) {
  constexpr double kPeriod = 10'000;
  constexpr double kLeastQuota = 1'000;
  constexpr double kLongestPeriod = 1'000'000;
  check(cpus > 0, "a share of a processor must be above 0");
  const double quota = cpus * kPeriod;
  if (quota >= kLeastQuota)
    return {static_cast<std::uint64_t>(std::llround(quota)), static_cast<std::uint64_t>(kPeriod)};
  const double period = std::min(kLeastQuota / cpus, kLongestPeriod);
  return {static_cast<std::uint64_t>(kLeastQuota), static_cast<std::uint64_t>(std::llround(period))};
}

}  // namespace virga
