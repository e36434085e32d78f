#include "virga/engine/cgroup.h"

#include <fstream>
#include <iostream>

#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>

#include "virga/base/threads.h"

namespace virga {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFirstVersion =
    "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr const char* kFirstGroups = "4:memory:/jobs/one\n2:cpu,cpuacct:/\n0::/user.slice/me\n";

TEST(FindHierarchyTest, FindsControllersOfTheFirstVersion) {
  EXPECT_EQ(find_hierarchy(Controller::kMemory, kFirstVersion, kFirstGroups, "hugetlb pids\n"),
            (Hierarchy{1, "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/jobs/one"}));
  const Hierarchy cpu{1, "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct"};
  EXPECT_EQ(find_hierarchy(Controller::kCpu, kFirstVersion, kFirstGroups, ""), cpu);
  EXPECT_EQ(find_hierarchy(Controller::kCpuAccounting, kFirstVersion, kFirstGroups, ""), cpu);
}

TEST(FindHierarchyTest, TakesTheSecondVersionForWhatTheFirstDoesNotHold) {
  EXPECT_EQ(find_hierarchy(Controller::kProcesses, kFirstVersion, kFirstGroups, "hugetlb pids\n"),
            (Hierarchy{2, "/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified/user.slice/me"}));
  EXPECT_EQ(find_hierarchy(Controller::kProcesses, kFirstVersion, kFirstGroups, "hugetlb\n"), Hierarchy{});
  EXPECT_EQ(find_hierarchy(Controller::kMemory, "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/a b\n",
                           "cpuset cpu io memory pids"),
            (Hierarchy{2, "/sys/fs/cgroup", "/sys/fs/cgroup/a b"}));
}

TEST(FindHierarchyTest, FindsTheGroupOfAContainerThatSeesOnlyItsPart) {
  const auto* mounts =
      "50 49 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
      "51 49 0:33 /docker/abc /a\\040b rw - cgroup cgroup rw,pids\n";
  EXPECT_EQ(find_hierarchy(Controller::kMemory, mounts, "4:memory:/docker/abc\n8:pids:/docker/abc/x\n", ""),
            (Hierarchy{1, "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory"}));
  EXPECT_EQ(find_hierarchy(Controller::kProcesses, mounts, "4:memory:/docker/abc\n8:pids:/docker/abc/x\n", ""),
            (Hierarchy{1, "/a b", "/a b/x"}));
  // A group outside of what is mounted: the best there is, is its top.
  EXPECT_EQ(find_hierarchy(Controller::kMemory, mounts, "4:memory:/elsewhere\n", "").current, "/sys/fs/cgroup/memory");
}

TEST(FindHierarchyTest, BearsTextsThatMakeNoSense) {
  for (const auto* text :
       {"", "\n", "-", "1 2 3 - cgroup", "a b c d e f - cgroup x", " - - - - - - - - - - ", "::", ":"}) {
    EXPECT_EQ(find_hierarchy(Controller::kMemory, text, text, text), Hierarchy{}) << text;
    EXPECT_EQ(find_hierarchy(Controller::kMemory, kFirstVersion, text, text), Hierarchy{}) << text;
  }
}

TEST(GroupNameTest, NamesItsOwner) {
  const GroupOwner owner{.pid_namespace = 4026531836, .pid = 17, .start = 123456};
  EXPECT_EQ(group_owner(group_name("a-job-7", owner)), owner);
  for (const auto* name :
       {"virga", "virga-a-1-2", "virga-a-1-2-x", "virga-a-1-0-3", "virga-a-1--2-3x", "other-a-1-2-3"}) {
    EXPECT_EQ(group_owner(name), std::nullopt) << name;
  }
  EXPECT_EQ(owner_of_this_process(), owner_of_this_process());
  EXPECT_NE(owner_of_this_process().start, 0U);
}

TEST(CpuQuotaTest, HasAPeriodOfTenMillisecondsUnlessTheShareIsTiny) {
  EXPECT_EQ(cpu_quota(1), (CpuQuota{10'000, 10'000}));
  EXPECT_EQ(cpu_quota(0.4), (CpuQuota{4'000, 10'000}));
  EXPECT_EQ(cpu_quota(3.5), (CpuQuota{35'000, 10'000}));
  EXPECT_EQ(cpu_quota(0.1), (CpuQuota{1'000, 10'000}));
  EXPECT_EQ(cpu_quota(0.07), (CpuQuota{1'000, 14'286}));
  EXPECT_EQ(cpu_quota(1e-9), (CpuQuota{1'000, 1'000'000}));
}

TEST(ControlGroupsTest, GivesAShareOfMoreThanItsOwnGroupHas) {
  const fs::path cpu = "/sys/fs/cgroup/cpu";
  const auto own = cpu / ("virga_narrow." + std::to_string(::getpid()));
  std::error_code error;
  if (!fs::create_directory(own, error)) {
    std::cout << "NOT RUN: no groups of the first version can be made here\n";
    return;
  }
  const auto write = [](const fs::path& file, const auto& text) { std::ofstream(file) << text; };
  write(own / "cpu.cfs_period_us", 100'000);
  write(own / "cpu.cfs_quota_us", 30'000);
  const auto child = ::fork();
  if (child == 0) {
    bool is_well = false;
    try {
      write(own / "cgroup.procs", ::getpid());
      ControlGroups groups("narrow");
      groups.make()->limit({.cpus = 1});
      groups.make()->limit({.cpus = 0.2});
      is_well = usable_cores() == 1 && groups.power(Controller::kCpu) == "cgroup v1";
    } catch (const std::exception& e) {
      std::cout << e.what() << std::endl;
    }
    write(cpu / "cgroup.procs", ::getpid());
    ::_exit(is_well ? 0 : 1);
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  for (int tries = 0; tries < 100 && ::rmdir(own.c_str()) != 0; ++tries) ::usleep(10'000);
  EXPECT_FALSE(fs::exists(own));
}

TEST(NumberOfTest, FindsTheWholeKeyOnly) {
  const auto* text = "low 0\noom 5\noom_kill 3\noom_group_kill 1\n";
  EXPECT_EQ(number_after_key(text, "oom_kill"), 3U);
  EXPECT_EQ(number_after_key(text, "oom"), 5U);
  EXPECT_EQ(number_after_key(text, "kill"), 0U);
  EXPECT_EQ(number_after_key("oom_kill", "oom_kill"), 0U);
}

TEST(SweepGroupsTest, LeavesTheGroupsOfTheLivingAndOfOthersAlone) {
  const auto self = owner_of_this_process();
  const auto folder = fs::path(testing::TempDir()) / ("virga_sweep." + std::to_string(::getpid()));
  auto dead = self;
  dead.start += 1;  // a process of that number that was started at another time
  auto foreign = dead;
  foreign.pid_namespace += 1;
  const auto nested = folder / "slice" / group_name("a", dead);
  fs::create_directories(nested / "0");
  fs::create_directories(folder / group_name("b", self) / "0");
  fs::create_directories(folder / group_name("c", foreign));
  fs::create_directories(folder / "virga");

  sweep_groups(folder, self);

  EXPECT_FALSE(fs::exists(nested));
  EXPECT_TRUE(fs::exists(folder / "slice"));
  EXPECT_TRUE(fs::exists(folder / group_name("b", self) / "0"));
  EXPECT_TRUE(fs::exists(folder / group_name("c", foreign)));
  EXPECT_TRUE(fs::exists(folder / "virga"));
  fs::remove_all(folder);
}

}  // namespace
}  // namespace virga
