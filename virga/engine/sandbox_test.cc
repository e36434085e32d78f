#include "virga/engine/sandbox.h"

#include <csignal>
#include <fstream>
#include <iostream>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gmock/gmock.h>

#include "virga/base/error.h"
#include "virga/engine/sandbox_testing.h"
#include "virga/engine/sandbox_watch.h"

namespace virga {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::IsEmpty;
namespace fs = std::filesystem;

constexpr std::uint64_t kMiB = 1 << 20;

class SandboxTest : public testing::TestWithParam<SandboxMaker::Want> {
 protected:
  SandboxTest() { std::cout << describe(maker_.powers()) << "\n"; }
  SandboxMaker maker_{"test", GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Wants, SandboxTest, testing::Values(SandboxMaker::Want::kAll, SandboxMaker::Want::kNone),
                         [](const auto& want) { return want.param == SandboxMaker::Want::kAll ? "All" : "None"; });

class HeldSandboxTest : public testing::Test {
 protected:
  HeldSandboxTest() : folder_(fs::path("/var/tmp") / ("virga_sandbox." + std::to_string(::getpid()))) {
    fs::create_directories(folder_);
  }
  ~HeldSandboxTest() override { fs::remove_all(folder_); }
  const fs::path folder_;
  SandboxMaker maker_{"held"};
};

TEST_P(SandboxTest, SaysHowAProgramEndedAndWhatItSaid) {
  const auto ran = run(maker_, shell("echo out; echo err >&2; exit 7"));
  EXPECT_EQ(ran.output, "out\nerr\n");
  EXPECT_EQ(ran.end.exit_code, 7);
  EXPECT_EQ(ran.end.signal, 0);
  EXPECT_FALSE(ran.end.out_of_memory);
}

TEST_P(SandboxTest, DiesOfTheSignalsThatItSendsItself) {
  for (const auto signal : {SIGKILL, SIGABRT, SIGTERM, SIGPIPE}) {
    EXPECT_EQ(run(maker_, shell("kill -" + std::to_string(signal) + " $$; exit 3")).end.signal, signal);
  }
}

TEST_P(SandboxTest, GivesTheEnvironmentArgumentsAndFolderThatWereAskedForAndNothingElse) {
  auto spec = python("import os, sys; print(sorted(os.environ.items()), sys.argv[1:], os.getcwd())");
  spec.environment = {{"A", "1"}, {"B", "x y"}, {"LC_CTYPE", "C.UTF-8"}};
  spec.arguments.insert(spec.arguments.end(), {"one", "", "th ree"});
  spec.working_folder = "/usr";
  EXPECT_EQ(run(maker_, spec).output,
            "[('A', '1'), ('B', 'x y'), ('LC_CTYPE', 'C.UTF-8')] ['one', '', 'th ree'] /usr\n");
}

TEST_P(SandboxTest, HasNoDescriptorButItsOwnThree) {
  const auto ran = run(maker_, shell("ls /proc/self/fd; read line; echo $?"));
  EXPECT_EQ(ran.output, "0\n1\n2\n3\n1\n");  // 3 is the folder that ls reads; nothing comes from standard input
}

TEST_P(SandboxTest, HoldsTheNumberOfOpenFiles) {
  auto spec = python(R"(
files = []
try:
    while True: files.append(open('/dev/null'))
except OSError as error: print(error.strerror, len(files))
)");
  spec.most_files = 1000;
  EXPECT_EQ(run(maker_, spec).output, "Too many open files 997\n");
}

TEST_P(SandboxTest, HasNoPrivileges) {
  const auto ran = run(maker_, shell("grep -E '^(CapInh|CapPrm|CapEff|CapAmb|NoNewPrivs)' /proc/self/status"));
  EXPECT_EQ(ran.output,
            "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n"
            "CapAmb:\t0000000000000000\nNoNewPrivs:\t1\n");
}

TEST_P(SandboxTest, HoldsMemory) {
  auto spec = python("x = []\nwhile True: x.append(bytearray(1 << 20))");
  spec.memory_bytes = 64 * kMiB;
  const auto ran = run(maker_, spec);
  EXPECT_EQ(ran.end.signal, SIGKILL);
  EXPECT_TRUE(ran.end.out_of_memory);
  EXPECT_GE(ran.usage.out_of_memory_kills, 1U);
  EXPECT_GE(ran.usage.peak_memory_bytes, 60 * kMiB);
}

TEST_P(SandboxTest, HoldsTheMemoryOfAllProcessesTogetherAndEndsThemTogether) {
  // Each takes a third more than its share; the parent would go on without its children.
  auto spec = python(R"(
import os, time
for i in range(3):
    if os.fork() == 0:
        x = bytearray(b'x') * (40 << 20)
        time.sleep(1000)
while True:
    try: os.wait()
    except ChildProcessError: time.sleep(1000)
)");
  spec.memory_bytes = 96 * kMiB;
  const auto ran = run(maker_, spec);
  EXPECT_EQ(ran.end.signal, SIGKILL);
  EXPECT_TRUE(ran.end.out_of_memory);
}

TEST_P(SandboxTest, LeavesAProgramBelowItsMemoryLimitAlone) {
  auto spec = python(R"(
import os, time
x = bytearray(b'x') * (60 << 20)
children = [os.fork() for i in range(3)]
if 0 in children: time.sleep(0.2); os._exit(0)   # their copies of x are not copies
for child in children: os.waitpid(child, 0)
)");
  spec.memory_bytes = 128 * kMiB;
  spec.arguments[1] = R"(
import os, time
x = bytearray(b'x') * (60 << 20)
children = []
for i in range(3):
    child = os.fork()
    if child == 0: time.sleep(0.2); os._exit(0)
    children.append(child)
for child in children: os.waitpid(child, 0)
)";
  const auto ran = run(maker_, spec);
  EXPECT_EQ(ran.end.exit_code, 0);
  EXPECT_EQ(ran.end.signal, 0) << ran.output;
  EXPECT_FALSE(ran.end.out_of_memory);
  EXPECT_EQ(ran.usage.out_of_memory_kills, 0U);
}

TEST_P(SandboxTest, CountsProcessorTimeAlsoOfWhatHasEnded) {
  const auto ran = run(maker_, python("import os, time\nif os.fork() == 0:\n while time.process_time() < 0.3: pass\n"
                                      " os._exit(0)\nos.wait()"));
  EXPECT_GE(ran.usage.cpu, 290ms);
}

TEST_P(SandboxTest, EndsWithTheProgramWhateverItHasStarted) {
  auto sandbox = maker_.start(shell("sleep 1000 & (setsid sleep 1000 & ) ; echo started; exec sleep 0.2"));
  (void)read_until(*sandbox, "started");
  std::vector<pid_t> processes;
  ASSERT_TRUE(eventually([&] { return (processes = sandbox->processes()).size() >= 3; }));
  const auto ran = finish(*sandbox);
  EXPECT_EQ(ran.end.exit_code, 0);
  for (const auto pid : processes) EXPECT_FALSE(process_facts(pid)) << pid;
}

TEST_P(SandboxTest, KillsAllAtOnce) {
  auto sandbox = maker_.start(shell("sleep 1000 & (setsid sleep 1000 & ) ; echo started; sleep 1000"));
  (void)read_until(*sandbox, "started");
  std::vector<pid_t> processes;
  ASSERT_TRUE(eventually([&] { return (processes = sandbox->processes()).size() >= 4; }));
  EXPECT_THAT(processes, testing::Contains(sandbox->pid()));
  EXPECT_FALSE(sandbox->ended());

  sandbox->kill();

  const auto ran = finish(*sandbox);
  EXPECT_EQ(ran.end.signal, SIGKILL);
  EXPECT_FALSE(ran.end.out_of_memory);
  for (const auto pid : processes) EXPECT_FALSE(process_facts(pid)) << pid;
  EXPECT_THAT(sandbox->processes(), IsEmpty());
}

TEST_P(SandboxTest, TellsTheProgramsNumberAsThisMachineCountsIt) {
  auto sandbox = maker_.start(shell("exec sleep 1000"));
  EXPECT_TRUE(eventually([&] {
    std::ifstream command("/proc/" + std::to_string(sandbox->pid()) + "/comm");
    std::string name;
    return command >> name && name == "sleep";
  }));
}

TEST_P(SandboxTest, RefusesWhatCannotBeRun) {
  const auto kind_of = [&](const SandboxSpec& spec) {
    try {
      (void)maker_.start(spec);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::kInternal;
  };
  auto spec = shell("");
  spec.program = "/nothing/there";
  EXPECT_EQ(kind_of(spec), ErrorKind::kNotFound);
  spec.program = "/etc/passwd";
  EXPECT_EQ(kind_of(spec), ErrorKind::kNotFound);
  spec = shell("");
  spec.working_folder = "/nothing/there";
  EXPECT_EQ(kind_of(spec), ErrorKind::kNotFound);
  spec = shell("");
  spec.writable = {"/nothing/there"};
  EXPECT_EQ(kind_of(spec), ErrorKind::kNotFound);
  spec = shell("");
  spec.environment["A"] = std::string(std::size_t{200} << 10, 'x');  // longer than the kernel takes
  EXPECT_EQ(kind_of(spec), ErrorKind::kNotFound);
  EXPECT_EQ(run(maker_, shell("exit 4")).end.exit_code, 4);  // and goes on
}

/// What `client`, a program in a sandbox, gets from a listener of ours: our side answers from outside.
TEST_P(SandboxTest, IsServedFromOutsideAtTheListenersItWasGiven) {
  auto spec = python(R"(
import os, socket
host, port = os.environ['SERVER'].split(':')
peer = socket.create_connection((host, int(port)), timeout=30)
print(peer.recv(100).decode())
)");
  spec.listen = {7001, 7002};
  spec.address_variables = {{"SERVER", 1}};
  auto sandbox = maker_.start(spec);
  const auto listener = sandbox->take_listener(1);

  Descriptor peer;
  ASSERT_TRUE(eventually([&] { return bool(peer = Descriptor(::accept(listener.get(), nullptr, nullptr))); }));
  ASSERT_EQ(::write(peer.get(), "well met", 8), 8);
  EXPECT_EQ(finish(*sandbox).output, "well met\n");
}

TEST_P(SandboxTest, IsServedAtTheAddressesOfOtherHosts) {
  if (maker_.powers().network.empty()) return;  // it sees those hosts themselves
  auto spec = python(R"(
import socket
for host in ['10.1.2.3', '192.0.2.77', '127.0.0.1', '10.1.2.3']:
  print(socket.create_connection((host, 7001 + (host[0:3] == '127')), timeout=30).getpeername()[0])
try:
  socket.create_connection(('10.1.2.4', 7001), timeout=30)
except OSError:
  print('nobody else')
)");
  spec.listen = {7001, 7001, 7002, 7009};
  spec.listen_hosts = {"10.1.2.3", "192.0.2.77", "127.0.0.1", "10.1.2.3"};
  auto sandbox = maker_.start(spec);
  EXPECT_EQ(finish(*sandbox).output, "10.1.2.3\n192.0.2.77\n127.0.0.1\n10.1.2.3\nnobody else\n");
}

class LeftoversTest : public testing::TestWithParam<SandboxMaker::Want> {};
INSTANTIATE_TEST_SUITE_P(Wants, LeftoversTest, testing::Values(SandboxMaker::Want::kAll, SandboxMaker::Want::kNone));

TEST_P(LeftoversTest, NothingIsLeftBehind) {
  const auto before = what_is_there();
  {
    SandboxMaker maker("gone", GetParam());
    EXPECT_EQ(run(maker, shell("sleep 1000 & exit 0")).end.exit_code, 0);
    auto killed = maker.start(shell("sleep 1000 & sleep 1000"));
    auto forgotten = maker.start(shell("sleep 1000"));
    killed->kill();
    EXPECT_GT(what_is_there().processes.size(), before.processes.size());
  }
  const auto after = what_is_there();
  EXPECT_EQ(after.processes, before.processes);
  EXPECT_EQ(after.groups, before.groups);
  EXPECT_EQ(after.mounts, before.mounts);
  EXPECT_EQ(after.namespaces, before.namespaces);
}

TEST_P(SandboxTest, RunsManyAtOnce) {
  std::vector<std::unique_ptr<Sandbox>> sandboxes(8);
  for (std::size_t i = 0; i < 8; ++i) sandboxes[i] = maker_.start(shell("exit " + std::to_string(i)));
  for (int i = 0; i < 8; ++i) EXPECT_EQ(finish(*sandboxes[static_cast<std::size_t>(i)]).end.exit_code, i);
}

TEST_P(SandboxTest, GoesOnWhenTheForgeHasBeenKilled) {
  for (const auto& process : descendants(::getpid())) {
    std::ifstream file("/proc/" + std::to_string(process.pid) + "/comm");
    std::string name;
    file >> name;
    if (name == "virga-forge") ::kill(process.pid, SIGKILL);
  }
  for (int i = 0; i < 3; ++i) EXPECT_EQ(run(maker_, shell("exit 5")).end.exit_code, 5);
}

TEST_F(HeldSandboxTest, HoldsTheNumberOfProcesses) {
  if (!has(maker_.powers().processes, "processes")) return;
  auto spec = python(R"(
import os, time
count = 0
try:
    while True:
        if os.fork() == 0: time.sleep(1000)
        count += 1
except OSError as error: print(error.strerror, count)
)");
  spec.most_processes = 12;
  EXPECT_EQ(run(maker_, spec).output, "Resource temporarily unavailable 11\n");
}

TEST_F(HeldSandboxTest, ContainsAForkBomb) {
  if (!has(maker_.powers().processes, "processes")) return;
  auto spec = shell("bomb() { bomb | bomb & }; bomb & exec sleep 1000");  // a shell that cannot fork would end
  spec.most_processes = 20;
  auto sandbox = maker_.start(spec);
  (void)read_until(*sandbox, "fork");  // refused
  EXPECT_LE(sandbox->processes().size(), 20U);
  sandbox->kill();
  EXPECT_EQ(finish(*sandbox).end.signal, SIGKILL);
}

TEST_F(HeldSandboxTest, ReachesNoServerOfThisMachine) {
  if (!has(maker_.powers().network, "the network")) return;
  const Descriptor server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(server.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(server.get(), 5), 0);
  ASSERT_EQ(::getsockname(server.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  const auto script = R"(
import socket
try: socket.create_connection(('127.0.0.1', )" +
                      std::to_string(ntohs(address.sin_port)) + R"(), timeout=30); print('reached')
except OSError as error: print(error.strerror)
try: socket.create_connection(('192.0.2.1', 80), timeout=30); print('reached')
except OSError as error: print(error.strerror)
)";
  EXPECT_EQ(run(maker_, python(script)).output, "Connection refused\nNetwork is unreachable\n");
  SandboxMaker free("free", SandboxMaker::Want::kNone);  // so the server can be reached at all
  EXPECT_THAT(run(free, python(script)).output, testing::StartsWith("reached\n"));
}

TEST_F(HeldSandboxTest, WritesOnlyWhereItMay) {
  if (!has(maker_.powers().files, "files")) return;
  const auto mine = folder_ / "mine";
  const auto others = folder_ / "others";
  fs::create_directories(mine);
  fs::create_directories(others);
  auto spec = shell("echo 1 > in_folder; echo 2 > " + (mine / "a").string() + "; echo 3 > " + (others / "b").string() +
                    "; echo 4 > /tmp/c; cat /tmp/c; echo 5 > /dev/shm/d; echo 6 > /proc/sys/kernel/hostname; "
                    "mkdir /sys/fs/cgroup/e; mount -o remount,rw / ; rm " +
                    (others / "kept").string());
  std::ofstream(others / "kept") << "kept";
  spec.working_folder = folder_;
  spec.writable = {mine};
  const auto ran = run(maker_, spec);
  EXPECT_TRUE(fs::exists(mine / "a")) << ran.output;
  EXPECT_FALSE(fs::exists(others / "b"));
  EXPECT_FALSE(fs::exists(folder_ / "in_folder"));
  EXPECT_TRUE(fs::exists(others / "kept"));
  EXPECT_FALSE(fs::exists("/tmp/c"));
  EXPECT_FALSE(fs::exists("/dev/shm/d"));
  EXPECT_THAT(ran.output, HasSubstr("4\n"));
}

TEST_F(HeldSandboxTest, SeesItsFoldersBelowTmp) {
  if (!has(maker_.powers().files, "files")) return;
  const fs::path base = "/tmp/virga_sandbox." + std::to_string(::getpid());
  fs::create_directories(base / "work" / "out");
  std::ofstream(base / "secret") << "secret";
  std::ofstream(base / "work" / "program") << "#!/bin/sh\necho from inside; echo y > out/file; echo z > file; ls /tmp "
                                           << base.string() << "; ls /run; touch /tmp/mine && echo mine\n";
  fs::permissions(base / "work" / "program", fs::perms::owner_all);
  auto spec = shell("");
  spec.program = base / "work" / "program";
  spec.arguments = {};
  spec.working_folder = base / "work";
  spec.writable = {base / "work" / "out"};

  const auto ran = run(maker_, spec);

  EXPECT_THAT(ran.output, HasSubstr("from inside\n"));
  EXPECT_TRUE(fs::exists(base / "work" / "out" / "file")) << ran.output;
  EXPECT_FALSE(fs::exists(base / "work" / "file"));
  const auto name = base.filename().string();
  EXPECT_THAT(ran.output, HasSubstr("/tmp:\n" + name + "\n\n" + base.string() + ":\nwork\n"));
  EXPECT_THAT(ran.output, HasSubstr("work\nmine\n"));  // nothing in /run
  fs::remove_all(base);
}

TEST_F(HeldSandboxTest, WritesIntoTmpItselfIfThatIsNamed) {
  if (!has(maker_.powers().files, "files")) return;
  const auto file = fs::path("/tmp") / ("virga_named." + std::to_string(::getpid()));
  auto spec = shell("echo there > " + file.string());
  spec.writable = {"/tmp"};
  EXPECT_EQ(run(maker_, spec).end.exit_code, 0);
  EXPECT_TRUE(fs::remove(file));
}

TEST_F(HeldSandboxTest, BoundsTmp) {
  if (!has(maker_.powers().files, "files")) return;
  auto spec = shell("head -c 9000000 /dev/zero > /tmp/big; wc -c < /tmp/big");
  spec.tmp_bytes = 4 * kMiB;
  EXPECT_THAT(run(maker_, spec).output, testing::EndsWith("4194304\n"));
}

TEST_F(HeldSandboxTest, CountsFilesInTmpAsMemory) {
  if (!has(maker_.powers().files, "files") || !has(maker_.powers().memory, "memory")) return;
  auto spec = shell("head -c 200000000 /dev/zero > /tmp/big && echo written");
  spec.memory_bytes = 48 * kMiB;
  const auto ran = run(maker_, spec);
  EXPECT_TRUE(ran.end.out_of_memory) << ran.output;
  EXPECT_THAT(ran.output, testing::Not(HasSubstr("written")));
}

TEST_F(HeldSandboxTest, HasOnlyHarmlessDevices) {
  if (!has(maker_.powers().files, "files")) return;
  const auto ran = run(maker_, python(R"(
import os, stat
opened = []
for name in os.listdir('/dev'):
    path = '/dev/' + name
    mode = os.stat(path).st_mode
    if not (stat.S_ISBLK(mode) or stat.S_ISCHR(mode)): continue
    try: os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK)); opened.append(name)
    except OSError: pass
print(sorted(opened))
open('/dev/null', 'w').write('x')
)"));
  EXPECT_EQ(ran.output, "['full', 'null', 'random', 'urandom', 'zero']\n");
}

TEST_F(HeldSandboxTest, SeesNoOtherProcess) {
  if (!has(maker_.powers().pids, "pids") || !has(maker_.powers().files, "files, of which /proc is one")) return;
  const auto ran = run(maker_, shell("cd /proc; echo [0-9]*; kill -9 1; kill -9 " + std::to_string(::getpid()) +
                                     " || echo alive; cat /proc/1/environ; cat /proc/1/mem | head -c 1"));
  EXPECT_THAT(ran.output, testing::StartsWith("1 2\n"));
  EXPECT_THAT(ran.output, HasSubstr("alive\n"));
  EXPECT_EQ(ran.end.signal, 0);
}

TEST_F(HeldSandboxTest, DescribesWhatIsHeld) {
  EXPECT_EQ(describe({"cgroup v1", "cgroup v1", "cgroup v1", "namespace", "namespace", "namespace"}),
            "memory, cpu and processes by cgroup v1; network, files and pids by namespaces");
  EXPECT_EQ(describe({.memory = "watched"}), "memory watched; cpu, processes, network, files and pids not held");
  EXPECT_EQ(describe({.memory = "watched", .processes = "rlimit"}),
            "memory watched; processes by rlimit; cpu, network, files and pids not held");
}

}  // namespace
}  // namespace virga
