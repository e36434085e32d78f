#include <csignal>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>

#include <grp.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/engine/cgroup.h"
#include "virga/engine/sandbox.h"
#include "virga/engine/sandbox_testing.h"
#include "virga/engine/sandbox_watch.h"

namespace virga {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

/// A process of its own that does `work` and ends with 0 if no expectation of it failed.
pid_t fork_for(const std::function<void()>& work) {
  std::cout.flush();
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  try {
    work();
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what();
  }
  std::cout.flush();
  ::_exit(testing::Test::HasFailure() ? 1 : 0);
}

bool is_gone(pid_t pid) {
  const auto facts = process_facts(pid);
  return !facts || facts->state == 'Z';  // its last parent may take its time
}

std::vector<std::string> groups_of(pid_t owner) {
  std::vector<std::string> groups;
  std::error_code error;
  for (auto at = fs::recursive_directory_iterator("/sys/fs/cgroup", error);
       !error && at != fs::recursive_directory_iterator(); at.increment(error)) {
    const auto named = group_owner(at->path().filename().string());
    if (named && named->pid == owner) groups.push_back(at->path().string());
  }
  return groups;
}

class OwnerTest : public testing::TestWithParam<SandboxMaker::Want> {};
INSTANTIATE_TEST_SUITE_P(Wants, OwnerTest, testing::Values(SandboxMaker::Want::kAll, SandboxMaker::Want::kNone));

TEST_P(OwnerTest, TakesAllProcessesWithItWhenItIsKilled) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t owner = fork_for([&] {
    SandboxMaker maker("owner", GetParam());
    auto first = maker.start(shell("sleep 1000 & (setsid sleep 1000 &); echo started; sleep 1000"));
    auto second = maker.start(shell("sleep 1000 & exec sleep 1000"));
    (void)read_until(*first, "started");
    (void)eventually([&] { return first->processes().size() >= 4 && second->processes().size() >= 2; });
    EXPECT_EQ(::write(ready[1], "r", 1), 1);
    ::pause();
  });
  char word = 0;
  ASSERT_EQ(::read(ready[0], &word, 1), 1);
  const auto processes = descendants(owner);
  ASSERT_GE(processes.size(), 9U);  // six that sleep, a shell or two, two inits, a forge
  const auto groups = groups_of(owner);
  SandboxMaker beside("beside", GetParam());  // leaves the groups of the living alone
  EXPECT_EQ(groups_of(owner), groups);

  ::kill(owner, SIGKILL);
  ::waitpid(owner, nullptr, 0);

  for (const auto& process : processes) EXPECT_TRUE(eventually([&] { return is_gone(process.pid); })) << process.pid;
  if (GetParam() == SandboxMaker::Want::kAll) {
    if (has(beside.powers().memory, "memory by control groups")) {
      EXPECT_FALSE(groups.empty());
    }
    const SandboxMaker next("next");
    EXPECT_THAT(groups_of(owner), IsEmpty());
  }
  for (const int end : ready) ::close(end);
}

TEST_P(OwnerTest, KeepsAProgramWhoseThreadHasEnded) {
  SandboxMaker maker("thread", GetParam());
  std::unique_ptr<Sandbox> sandbox;
  std::thread([&] { sandbox = maker.start(shell("read line; sleep 0.1; exit 6")); }).join();
  EXPECT_EQ(finish(*sandbox).end.exit_code, 6);
}

TEST(SandboxWithoutRootTest, HoldsWhatAnyUserMayHold) {
  if (::geteuid() != 0) {
    std::cout << "NOT RUN: only root becomes another user\n";
    return;
  }
  const auto folder = fs::path("/var/tmp") / ("virga_nobody." + std::to_string(::getpid()));
  fs::create_directories(folder);
  constexpr uid_t kNobody = 65534;
  ASSERT_EQ(::chown(folder.c_str(), kNobody, kNobody), 0);
  const pid_t pid = fork_for([&] {
    ASSERT_EQ(::setgroups(0, nullptr), 0);
    ASSERT_EQ(::setresgid(kNobody, kNobody, kNobody), 0);
    ASSERT_EQ(::setresuid(kNobody, kNobody, kNobody), 0);
    ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);  // as a process that was this user's from its start
    SandboxMaker maker("nobody");
    const auto powers = maker.powers();
    std::cout << describe(powers) << "\n";
    auto spec = shell("id -u; echo 1 > here; echo 2 > /var/tmp/virga_nobody_out; ls /proc | grep -c '^[0-9]'");
    spec.working_folder = folder;
    spec.writable = {folder};
    const auto ran = run(maker, spec);
    EXPECT_THAT(ran.output, HasSubstr("65534\n"));
    EXPECT_TRUE(fs::exists(folder / "here")) << ran.output;
    if (has(powers.files, "files without root")) {
      EXPECT_FALSE(fs::exists("/var/tmp/virga_nobody_out"));
    }
    if (has(powers.pids, "pids without root")) {
      EXPECT_THAT(ran.output, testing::EndsWith("\n4\n"));
    }
    if (has(powers.network, "the network without root")) {
      EXPECT_EQ(run(maker, shell("grep -c : /proc/net/dev")).output, "1\n");
    }
    if (powers.processes == "rlimit" && !powers.pids.empty()) {
      auto bomb = shell("bomb() { bomb | bomb & }; bomb; sleep 1000");
      bomb.most_processes = 20;
      auto sandbox = maker.start(bomb);
      (void)read_until(*sandbox, "fork");
      EXPECT_LE(sandbox->processes().size(), 20U);
    }
    auto hungry = python("x = []\nwhile True: x.append(bytearray(1 << 20))");
    hungry.memory_bytes = 64 << 20;
    EXPECT_TRUE(run(maker, hungry).end.out_of_memory);
  });
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
  fs::remove_all(folder);
  fs::remove("/var/tmp/virga_nobody_out");
}

/// Not a measurement of time: what was used is held against the periods that the kernel has counted.
TEST(SandboxCpuTest, UsesNoMoreThanItsQuotaInEachPeriod) {
  SandboxMaker maker("cpu");
  if (!has(maker.powers().cpu, "cpu")) return;
  auto spec = shell("while :; do :; done");
  spec.cpus = 0.2;
  auto sandbox = maker.start(spec);
  const auto text_of = [](const fs::path& path) {
    std::ifstream file(path);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const auto groups = text_of("/proc/" + std::to_string(sandbox->pid()) + "/cgroup");
  const auto hierarchy = find_hierarchy(Controller::kCpu, text_of("/proc/self/mountinfo"), groups, "cpu");
  const auto periods = [&] { return number_after_key(text_of(hierarchy.current / "cpu.stat"), "nr_periods"); };
  using namespace std::chrono_literals;
  const auto used_before = sandbox->usage().cpu;
  const auto before = periods();

  ASSERT_TRUE(eventually([&] { return sandbox->usage().cpu - used_before > 400ms; }));

  const auto used = sandbox->usage().cpu - used_before;
  const auto passed = periods() - before + 1;  // the one that has begun
  // 2 ms a period; each processor may have carried a slice of up to 5 ms over.
  EXPECT_LE(used, passed * 2ms * 1.05 + 2 * 5ms);
  EXPECT_GT(passed, 150U);
}

}  // namespace
}  // namespace virga
