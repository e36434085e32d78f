#include "virga/engine/sandbox_testing.h"

#include <fstream>
#include <iostream>
#include <iterator>
#include <system_error>

#include <poll.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "virga/engine/cgroup.h"
#include "virga/engine/sandbox_watch.h"

namespace virga {

namespace fs = std::filesystem;

SandboxSpec shell(const std::string& script) {
  return {.program = "/bin/sh",
          .arguments = {"-c", script},
          .environment = {{"PATH", "/usr/bin:/bin"}},
          .working_folder = "/",
          .memory_bytes = std::uint64_t{256} << 20};
}

SandboxSpec python(const std::string& script) {
  auto spec = shell("");
  spec.program = "/usr/bin/python3";
  spec.arguments = {"-c", script};
  return spec;
}

namespace {

void read_output(Sandbox& sandbox, std::string& output) {
  char part[4096];
  for (ssize_t count = 0; (count = ::read(sandbox.output_descriptor(), part, sizeof part)) > 0;) {
    output.append(part, static_cast<std::size_t>(count));
  }
}

}  // namespace

Ran finish(Sandbox& sandbox) {
  Ran ran;
  const auto limit = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  for (std::optional<Sandbox::End> end; !end;) {
    pollfd polls[2] = {{.fd = sandbox.end_descriptor(), .events = POLLIN, .revents = 0},
                       {.fd = sandbox.output_descriptor(), .events = POLLIN, .revents = 0}};
    ::poll(polls, 1, 50);
    read_output(sandbox, ran.output);
    end = sandbox.ended();
    if (end) ran.end = *end;
    if (std::chrono::steady_clock::now() < limit) continue;
    ADD_FAILURE() << "still runs after a minute; so far it said: " << ran.output;
    break;
  }
  read_output(sandbox, ran.output);
  ran.usage = sandbox.usage();
  return ran;
}

Ran run(SandboxMaker& maker, const SandboxSpec& spec) { return finish(*maker.start(spec)); }

std::string read_until(Sandbox& sandbox, const std::string& text) {
  std::string output;
  const bool found = eventually([&] {
    read_output(sandbox, output);
    return output.find(text) != std::string::npos;
  });
  if (!found) ADD_FAILURE() << "no \"" << text << "\" in: " << output;
  return output;
}

Leftovers what_is_there() {
  Leftovers there;
  for (const auto& process : descendants(::getpid())) {
    there.processes.insert(process.pid);
    for (const auto* kind : {"pid", "net", "mnt", "ipc", "uts"}) {
      std::error_code gone;
      const auto link = fs::path("/proc") / std::to_string(process.pid) / "ns" / kind;
      const auto name = fs::read_symlink(link, gone).string();
      if (!gone) there.namespaces.insert(name);
    }
  }
  std::error_code error;
  for (auto at = fs::recursive_directory_iterator("/sys/fs/cgroup", error);
       !error && at != fs::recursive_directory_iterator(); at.increment(error)) {
    const auto name = at->path().filename().string();
    const auto owner = group_owner(name);
    if (owner && owner->pid == ::getpid()) there.groups.insert(at->path().string());
  }
  std::ifstream mounts("/proc/self/mountinfo");
  there.mounts.assign(std::istreambuf_iterator<char>(mounts), {});
  return there;
}

bool has(const std::string& power, const char* name) {
  if (!power.empty() && power != "watched") return true;
  std::cout << "NOT RUN: this machine does not hold " << name << "\n";
  return false;
}

}  // namespace virga
