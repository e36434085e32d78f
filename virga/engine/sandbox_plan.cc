#include "virga/engine/sandbox_plan.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include <arpa/inet.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {

namespace {

namespace fs = std::filesystem;
constexpr std::uint64_t kMostPlanBytes = 8 << 20;
constexpr std::size_t kMostFolders = 200;

bool is_below_or_same(const fs::path& path, const fs::path& folder) {
  return std::mismatch(folder.begin(), folder.end(), path.begin(), path.end()).first == folder.end();
}

std::uint32_t ipv4_number(const std::string& host) {
  in_addr number{};
  if (::inet_pton(AF_INET, host.c_str(), &number) == 1) return number.s_addr;
  throw Error(ErrorKind::kUnsupported, fmt::format("functions of this machine reach hosts by IPv4 alone, not {}", host),
              "give the host's IPv4 number");
}

fs::path resolved(const fs::path& path, const char* what) {
  std::error_code error;
  auto canonical = fs::canonical(path, error);
  if (error) throw system_error(fmt::format("cannot use the {} {}", what, path.string()), error.value());
  return canonical;
}
fs::path resolved_folder(const fs::path& path, const char* what) {
  auto canonical = resolved(path, what);
  if (!fs::is_directory(canonical)) {
    throw Error(ErrorKind::kUsage, fmt::format("the {} {} is not a folder", what, path.string()));
  }
  return canonical;
}

void check_text(const std::string& text, const char* what) {
  if (text.find('\0') == std::string::npos) return;
  throw Error(ErrorKind::kUsage, fmt::format("the {} of a sandbox holds a byte 0", what));
}

}  // namespace

FilesView view_files(const fs::path& program, const fs::path& working_folder, const std::vector<fs::path>& writable,
                     const std::vector<fs::path>& readable) {
  FilesView view{.cover_tmp = true, .cover_run = true};
  const fs::path tmp = "/tmp";
  const fs::path run = "/run";
  for (const auto& folder : writable) {
    view.mounts.push_back({folder.string(), sandbox_init::kWritable});
    if (is_below_or_same(tmp, folder)) view.cover_tmp = false;
    if (is_below_or_same(run, folder)) view.cover_run = false;
  }
  const auto covered = [&](const fs::path& path) {
    return (view.cover_tmp && is_below_or_same(path, tmp)) || (view.cover_run && is_below_or_same(path, run));
  };
  const auto show = [&](const fs::path& path, char kind) {
    const auto shown = std::ranges::any_of(
        view.mounts, [&](const FilesView::Mount& mount) { return is_below_or_same(path, mount.path); });
    if (covered(path) && path != tmp && path != run && !shown) view.mounts.push_back({path.string(), kind});
  };
  show(working_folder, sandbox_init::kReadable);
  for (const auto& folder : readable) show(folder, sandbox_init::kReadable);
  const auto neighbours = program.parent_path();
  show(neighbours, sandbox_init::kReadable);
  show(program, sandbox_init::kReadableFile);
  std::ranges::sort(view.mounts, {}, &FilesView::Mount::path);
  view.mounts.erase(std::unique(view.mounts.begin(), view.mounts.end()), view.mounts.end());
  return view;
}

SandboxSpec resolve(const SandboxSpec& spec) {
  SandboxSpec plain = spec;
  plain.program = resolved(spec.program, "program");
  if (!fs::is_regular_file(plain.program) || ::access(plain.program.c_str(), X_OK) != 0) {
    throw Error(ErrorKind::kNotFound, fmt::format("{}: not a program that can be run", spec.program.string()));
  }
  plain.working_folder = resolved_folder(spec.working_folder.empty() ? "/" : spec.working_folder, "working folder");
  for (auto& folder : plain.writable) folder = resolved_folder(folder, "writable folder");
  for (auto& folder : plain.readable) folder = resolved_folder(folder, "readable folder");
  check(spec.listen_hosts.size() <= spec.listen.size(), "a host has no listening socket");
  if (spec.listen.size() > sandbox_init::kMostListeners || spec.writable.size() + spec.readable.size() > kMostFolders) {
    throw Error(
        ErrorKind::kUsage,
        fmt::format("a sandbox has at most {} listening sockets and {} folders of its own; {} and {} were asked for",
                    sandbox_init::kMostListeners, kMostFolders, spec.listen.size(),
                    spec.writable.size() + spec.readable.size()));
  }
  if (!(spec.cpus > 0)) throw Error(ErrorKind::kUsage, "a sandbox needs a share of a processor above 0");
  if (spec.most_files < 3 || spec.most_processes < 1) {
    throw Error(ErrorKind::kUsage, "a sandbox needs at least 3 open files and 1 process");
  }
  for (const auto& [name, index] : spec.address_variables) {
    check(index < spec.listen.size(), "an address variable names a listening socket that is not asked for");
  }
  for (const auto& argument : spec.arguments) check_text(argument, "arguments");
  for (const auto& [name, value] : spec.environment) check_text(name + value, "environment");
  return plain;
}

Descriptor encode_plan(const SandboxSpec& spec, const SandboxPowers& powers, bool trial) {
  sandbox_init::Plan plan{.most_files = spec.most_files,
                          .tmp_bytes = std::max<std::uint64_t>(spec.tmp_bytes, 4096),
                          .namespace_of_files = powers.files == "namespace",
                          .namespace_of_processes = powers.pids == "namespace",
                          .trial = trial};
  std::string strings;
  const auto add = [&strings](std::string_view text) { strings.append(text).push_back('\0'); };
  add(spec.program.native());
  add(spec.working_folder.native());
  add(spec.program.native());
  for (const auto& argument : spec.arguments) add(argument);
  plan.arguments = static_cast<std::uint32_t>(1 + spec.arguments.size());
  for (const auto& [name, value] : spec.environment) add(fmt::format("{}={}", name, value));
  plan.environment = static_cast<std::uint32_t>(spec.environment.size());
  const auto view = view_files(spec.program, spec.working_folder, spec.writable, spec.readable);
  plan.cover_tmp = view.cover_tmp && fs::is_directory("/tmp");
  plan.cover_run = view.cover_run && fs::is_directory("/run");
  for (const auto& mount : view.mounts) add(mount.kind + mount.path);
  plan.mounts = static_cast<std::uint32_t>(view.mounts.size());
  if (powers.network == "namespace") {
    plan.listeners = static_cast<std::uint32_t>(spec.listen.size());
    std::ranges::copy(spec.listen, plan.ports);
    std::ranges::fill(plan.hosts, ipv4_number("127.0.0.1"));
    std::ranges::transform(spec.listen_hosts, plan.hosts, ipv4_number);
  }
  if (powers.processes == "rlimit") plan.most_processes = spec.most_processes + 1;  // the init is a process too

  constexpr std::size_t kPointer = sizeof(char*);
  plan.pointers = (sizeof plan + strings.size() + kPointer - 1) / kPointer * kPointer;
  plan.bytes = plan.pointers + kPointer * (plan.arguments + plan.environment + 2);
  if (plan.bytes > kMostPlanBytes) {
    throw Error(ErrorKind::kTooLarge,
                fmt::format("arguments and environment of {} bytes; {} is the limit", plan.bytes, kMostPlanBytes));
  }
  Descriptor file(::memfd_create("virga-plan", MFD_CLOEXEC));
  std::string bytes(plan.bytes, '\0');
  std::memcpy(bytes.data(), &plan, sizeof plan);
  std::memcpy(bytes.data() + sizeof plan, strings.data(), strings.size());
  if (!file || ::write(file.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
    throw system_error("cannot keep the plan of a sandbox in memory", errno);
  }
  return file;
}

}  // namespace virga
