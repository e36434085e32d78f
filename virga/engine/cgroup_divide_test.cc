#include "virga/engine/cgroup_divide.h"

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>
#include <sstream>

#include <gmock/gmock.h>

namespace virga {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr pid_t kMe = 100;
constexpr pid_t kMyChild = 101;
const GroupOwner kSelf{.pid_namespace = 7, .pid = kMe, .start = 9};
const std::vector<std::string> kAll{"memory", "cpu", "pids"};

std::vector<std::string> words(std::string_view text) {
  std::istringstream stream{std::string(text)};
  return {std::istream_iterator<std::string>(stream), {}};
}

/// The second version's rules, as "Organizing Processes and Threads" of Linux's cgroup-v2.rst has them: they stand here
/// because most machines that run this test let nobody make such groups.
class Tree : public GroupFiles {
 public:
  struct Group {
    std::set<std::string> on;   // handed on
    std::set<pid_t> processes;  // ended ones are not in here
    bool is_ours = true;        // may be written to
  };

  explicit Tree(const fs::path& root, std::set<std::string> controllers, bool is_real_root = true)
      : root_(root), controllers_(std::move(controllers)), is_real_root_(is_real_root) {
    groups[root];
  }

  std::string read(const fs::path& file) override {
    const auto at = groups.find(file.parent_path());
    if (at == groups.end()) return {};
    std::string text;
    if (file.filename() == "cgroup.procs") {
      for (const auto pid : at->second.processes) text += std::to_string(pid) + "\n";
      return text;
    }
    const auto& names = file.filename() == "cgroup.controllers" ? controllers_of(at->first) : at->second.on;
    for (const auto& name : names) text += (text.empty() ? "" : " ") + name;
    return text + "\n";
  }

  int write(const fs::path& file, std::string_view text) override {
    const auto at = groups.find(file.parent_path());
    if (at == groups.end()) return ENOENT;
    if (!at->second.is_ours) return EACCES;
    return file.filename() == "cgroup.procs" ? move(at->first, std::stoi(std::string(text)))
                                             : hand_on(at->first, words(text));
  }

  int make(const fs::path& group) override {
    if (groups.contains(group)) return EEXIST;
    const auto parent = groups.find(group.parent_path());
    if (parent == groups.end()) return ENOENT;
    if (!parent->second.is_ours) return EACCES;
    groups[group];
    return 0;
  }

  int remove(const fs::path& group, std::chrono::milliseconds /*patience*/) override {
    const auto at = groups.find(group);
    if (at == groups.end()) return ENOENT;
    if (!at->second.processes.empty() || !children_of(group).empty()) return EBUSY;
    groups.erase(at);
    return 0;
  }

  fs::path group_of(pid_t pid) {
    const auto at =
        std::ranges::find_if(groups, [=](const auto& group) { return group.second.processes.contains(pid); });
    return at == groups.end() ? fs::path() : at->first;
  }

  std::map<fs::path, Group> groups;

 private:
  std::set<std::string> controllers_of(const fs::path& group) {
    return group == root_ ? controllers_ : groups.at(group.parent_path()).on;
  }
  std::vector<fs::path> children_of(const fs::path& group) {
    std::vector<fs::path> children;
    for (const auto& [path, unused] : groups) {
      if (path != group && path.parent_path() == group) children.push_back(path);
    }
    return children;
  }

  bool is_real_root(const fs::path& group) const { return group == root_ && is_real_root_; }
  /// A group that holds processes and hands controllers on of which threads can have groups is a root of groups of its
  /// threads, and those below it are no place for processes.
  bool is_invalid(const fs::path& group) {
    if (group == root_) return false;
    const auto parent = group.parent_path();
    return !is_real_root(parent) && !groups.at(parent).on.empty() && !groups.at(parent).processes.empty();
  }

  int move(const fs::path& to, pid_t pid) {
    const auto from = group_of(pid);
    if (from.empty()) return ESRCH;
    auto shared = to;  // who moves a process must be allowed to write where both groups are
    while (std::mismatch(shared.begin(), shared.end(), from.begin(), from.end()).first != shared.end()) {
      shared = shared.parent_path();
    }
    if (!groups.at(shared).is_ours) return EACCES;
    if (groups.at(to).on.contains("memory") && !is_real_root(to)) return EBUSY;
    if (is_invalid(to)) return EOPNOTSUPP;
    groups.at(from).processes.erase(pid);
    groups.at(to).processes.insert(pid);
    return 0;
  }

  int hand_on(const fs::path& group, const std::vector<std::string>& changes) {
    auto on = groups.at(group).on;
    for (const auto& change : changes) {
      const auto name = change.substr(1);
      if (change[0] == '+') {
        if (!controllers_of(group).contains(name)) return ENOENT;
        on.insert(name);
      } else {
        on.erase(name);
        for (const auto& child : children_of(group)) {
          if (groups.at(child).on.contains(name)) return EBUSY;
        }
      }
    }
    if (!on.empty() && is_invalid(group)) return EOPNOTSUPP;
    if (on.contains("memory") && !is_real_root(group) && !groups.at(group).processes.empty()) return EBUSY;
    groups.at(group).on = on;
    return 0;
  }

  fs::path root_;
  std::set<std::string> controllers_;
  bool is_real_root_;
};

const fs::path kRoot = "/sys/fs/cgroup";

Division divide_in(Tree& tree, const fs::path& current, const std::string& name = "virga-a") {
  return divide(tree, {.version = 2, .mount = kRoot, .current = current}, kAll, name, {kMe, kMyChild}, kSelf);
}

TEST(DivideTest, DividesTheRootAsItIs) {
  Tree tree(kRoot, {"cpuset", "cpu", "io", "memory", "pids"});
  tree.groups[kRoot].processes = {1, 2, kMe};
  const auto division = divide_in(tree, kRoot);
  EXPECT_EQ(division.folder, kRoot / "virga-a");
  EXPECT_EQ(division.controllers, kAll);
  EXPECT_EQ(division.aside, "");
  EXPECT_EQ(division.objection, "");
  EXPECT_THAT(tree.groups[kRoot / "virga-a"].on, ElementsAre("cpu", "memory", "pids"));
}

TEST(DivideTest, PutsItselfAsideInAGroupOfItsOwnAndGoesBack) {
  Tree tree(kRoot, {"cpu", "memory", "pids"});
  tree.groups[kRoot].on = {"cpu", "memory", "pids"};
  tree.groups[kRoot].is_ours = false;
  const auto mine = kRoot / "mine.scope";
  tree.groups[mine].processes = {kMe, kMyChild};

  const auto division = divide_in(tree, mine);

  EXPECT_EQ(division.folder, mine / "virga-a");
  EXPECT_EQ(division.controllers, kAll);
  EXPECT_EQ(division.aside, mine / aside_name(kSelf));
  EXPECT_EQ(tree.group_of(kMe), division.aside);
  EXPECT_EQ(tree.group_of(kMyChild), division.aside);

  // A second one of the same process divides the same group; the last one to go puts the process back.
  const auto second = divide_in(tree, division.aside, "virga-b");
  EXPECT_EQ(second.folder, mine / "virga-b");
  EXPECT_EQ(second.controllers, kAll);
  ASSERT_EQ(tree.remove(division.folder, {}), 0);
  step_back(tree, division.aside);
  EXPECT_EQ(tree.group_of(kMe), division.aside);
  ASSERT_EQ(tree.remove(second.folder, {}), 0);
  step_back(tree, second.aside);
  EXPECT_EQ(tree.groups[mine].processes, (std::set{kMe, kMyChild}));
  EXPECT_THAT(tree.groups[mine].on, IsEmpty());
  EXPECT_EQ(tree.groups.size(), 2U);
}

TEST(DivideTest, MovesNobodyElse) {
  Tree tree(kRoot, {"cpu", "memory", "pids"});
  tree.groups[kRoot].on = {"cpu", "memory", "pids"};
  tree.groups[kRoot].is_ours = false;
  for (const pid_t other : {55, 0}) {  // 0: one that is in another namespace of processes
    const auto mine = kRoot / "mine.scope";
    tree.groups[mine].processes = {other, kMe};
    const auto division = divide_in(tree, mine);
    EXPECT_EQ(division.folder, "");
    EXPECT_THAT(division.controllers, IsEmpty());
    EXPECT_EQ(division.objection,
              "/sys/fs/cgroup/mine.scope holds other processes besides this one, so it cannot hand controllers on");
    EXPECT_EQ(tree.groups[mine].processes, (std::set{other, kMe}));
    EXPECT_EQ(tree.groups.size(), 2U);
  }
}

TEST(DivideTest, GoesUpPastAGroupThatHoldsOthers) {
  Tree tree(kRoot, {"cpu", "memory", "pids"});
  tree.groups[kRoot].on = {"cpu", "memory", "pids"};
  tree.groups[kRoot].is_ours = false;
  const auto slice = kRoot / "app.slice";
  tree.groups[slice];
  tree.groups[slice / "shell.scope"].processes = {55, kMe};
  const auto division = divide_in(tree, slice / "shell.scope");
  EXPECT_EQ(division.folder, slice / "virga-a");
  EXPECT_EQ(division.controllers, kAll);
  EXPECT_EQ(division.aside, "");
  EXPECT_EQ(division.objection, "");
  EXPECT_EQ(tree.groups.size(), 4U);
  EXPECT_THAT(tree.groups[slice / "shell.scope"].on, IsEmpty());
}

TEST(DivideTest, LeavesNothingHandedOnWhereItCouldNotStay) {
  Tree tree(kRoot, {"cpu", "memory", "pids"});
  tree.groups[kRoot].on = {"cpu",
                           "pids"};  // of which threads can have groups: also a group with processes hands them on
  tree.groups[kRoot].is_ours = false;
  tree.groups[kRoot / "mine"].processes = {55, kMe};
  const auto division = divide_in(tree, kRoot / "mine");
  EXPECT_EQ(division.folder, "");
  EXPECT_THAT(tree.groups[kRoot / "mine"].on, IsEmpty());
  tree.groups[kRoot / "mine"].processes = {kMe};
  EXPECT_THAT(divide_in(tree, kRoot / "mine").controllers, ElementsAre("cpu", "pids"));
  EXPECT_EQ(tree.group_of(kMe), kRoot / "mine" / aside_name(kSelf));
}

/// A process that joined one group for memory and then another for processor time would have left the first.
TEST(DivideTest, TakesOneGroupForAllControllersTheNearestWithMost) {
  Tree tree(kRoot, {"cpu", "memory", "pids"});
  tree.groups[kRoot].on = {"memory", "pids"};
  const auto slice = kRoot / "user.slice";
  tree.groups[slice].on = {"memory", "pids"};
  tree.groups[slice / "session.scope"].processes = {55, kMe};
  auto division = divide_in(tree, slice / "session.scope");
  EXPECT_EQ(division.folder, kRoot / "virga-a");
  EXPECT_EQ(division.controllers, kAll);
  EXPECT_EQ(tree.groups.size(), 4U);  // nothing is left in the slice

  tree.groups.erase(kRoot / "virga-a");
  tree.groups[kRoot].is_ours = false;
  tree.groups[kRoot].on = {"memory", "pids"};
  division = divide_in(tree, slice / "session.scope");
  EXPECT_EQ(division.folder, slice / "virga-a");
  EXPECT_THAT(division.controllers, ElementsAre("memory", "pids"));
  EXPECT_EQ(
      division.objection,
      "/sys/fs/cgroup/user.slice/session.scope has not all of the controllers memory, cpu, pids: the groups above "
      "it do not hand them on");
}

TEST(DivideTest, HandsOnWhatTheGroupAboveHasNotHandedOnYet) {
  Tree tree(kRoot, {"cpu", "memory", "pids"});  // of which the root hands nothing on
  tree.groups[kRoot / "mine"].processes = {kMe};
  const auto division = divide_in(tree, kRoot / "mine");
  EXPECT_EQ(division.folder, kRoot / "virga-a");
  EXPECT_EQ(division.controllers, kAll);
  EXPECT_EQ(tree.group_of(kMe), kRoot / "mine");
}

TEST(DivideTest, GoesBackIfBeingAsideIsOfNoUse) {
  Tree tree(kRoot, {"cpu", "memory", "pids"});
  tree.groups[kRoot].on = {"memory"};
  tree.groups[kRoot / "mine"].processes = {kMe};
  const auto division = divide_in(tree, kRoot / "mine");
  EXPECT_EQ(division.folder, kRoot / "virga-a");
  EXPECT_EQ(division.controllers, kAll);
  EXPECT_EQ(division.aside, "");
  EXPECT_EQ(tree.group_of(kMe), kRoot / "mine");
  EXPECT_THAT(tree.groups[kRoot / "mine"].on, IsEmpty());
  EXPECT_EQ(tree.groups.size(), 3U);
}

TEST(DivideTest, DividesTheGroupOfAContainer) {
  Tree tree(kRoot, {"cpu", "memory", "pids"}, false);  // what it sees as the root is none
  tree.groups[kRoot].processes = {kMe};
  auto division = divide_in(tree, kRoot);
  EXPECT_EQ(division.folder, kRoot / "virga-a");
  EXPECT_EQ(division.aside, kRoot / aside_name(kSelf));

  Tree shared(kRoot, {"cpu", "memory", "pids"}, false);
  shared.groups[kRoot].processes = {1, kMe};
  division = divide_in(shared, kRoot);
  EXPECT_EQ(division.folder, "");
  EXPECT_THAT(division.objection, HasSubstr("holds other processes"));
}

TEST(DivideTest, SaysThatTheGroupIsNotItsOwn) {
  Tree tree(kRoot, {"cpu", "memory", "pids"});
  tree.groups[kRoot].on = {"cpu", "memory", "pids"};
  tree.groups[kRoot].is_ours = false;
  tree.groups[kRoot / "session.scope"] = {.on = {}, .processes = {kMe}, .is_ours = false};
  const auto division = divide_in(tree, kRoot / "session.scope");
  EXPECT_EQ(division.folder, "");
  EXPECT_EQ(division.objection, "/sys/fs/cgroup/session.scope cannot hand memory, cpu, pids on: Permission denied");
}

TEST(AsideNameTest, NamesItsOwnerButIsNoGroupToBeSwept) {
  EXPECT_EQ(aside_owner(aside_name(kSelf)), kSelf);
  EXPECT_EQ(group_owner(aside_name(kSelf)), std::nullopt);
  EXPECT_EQ(aside_owner(group_name("a", kSelf)), std::nullopt);
  for (const auto* name : {"virga_aside", "virga_aside-1-2", "virga_aside-1-0-3", "virga_aside-1-2-3-4"}) {
    EXPECT_EQ(aside_owner(name), std::nullopt) << name;
  }
}

TEST(ProcessNumbersTest, ReadsOneALine) {
  EXPECT_THAT(process_numbers("1\n0\n4194304\n"), ElementsAre(1, 0, 4194304));
  EXPECT_THAT(process_numbers("12"), ElementsAre(12));
  EXPECT_THAT(process_numbers(""), IsEmpty());
  EXPECT_THAT(process_numbers("x\n1\n"), IsEmpty());
}

}  // namespace
}  // namespace virga
