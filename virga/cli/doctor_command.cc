#include <filesystem>
#include <fstream>
#include <system_error>

#include <sys/statvfs.h>
#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/base/memory.h"
#include "virga/base/threads.h"
#include "virga/base/units.h"
#include "virga/base/version.h"
#include "virga/cli/commands.h"
#include "virga/engine/sandbox.h"

namespace virga {
namespace {

enum class Verdict { kGood, kWarning, kBad };

struct Finding {
  std::string name;
  std::string text;
  nlohmann::json value;
  Verdict verdict = Verdict::kGood;
  std::string remedy = {};
};

constexpr std::uint64_t kLittleDisk = std::uint64_t{1} << 30;
constexpr std::uint64_t kLittleMemory = std::uint64_t{512} << 20;

std::string simd_level() {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    return "avx512";
  }
  return __builtin_cpu_supports("avx2") ? "avx2" : "scalar";
}

Finding check_home(const std::filesystem::path& home) {
  try {
    std::error_code error;
    std::filesystem::create_directories(home, error);
    if (error) throw system_error("cannot create " + home.string(), error.value());
    const auto probe = home / ".doctor";
    write_file_atomically(probe, as_bytes("ok"));
    std::filesystem::remove(probe, error);
    return {"home", home.string() + " (writable)", home.string()};
  } catch (const Error& error) {
    return {"home", error.what(), home.string(), Verdict::kBad, "set VIRGA_HOME to a folder that you may write to"};
  }
}

Finding check_disk(const std::filesystem::path& home) {
  auto place = home;
  while (!place.empty() && place != place.root_path() && !std::filesystem::exists(place)) place = place.parent_path();
  struct statvfs status {};
  if (::statvfs(place.empty() ? "." : place.c_str(), &status) != 0) {
    return {"disk", "cannot tell how much is free", nullptr, Verdict::kWarning};
  }
  const auto free = std::uint64_t{status.f_bavail} * status.f_frsize;
  const bool little = free < kLittleDisk;
  return {"disk_free_bytes", fmt::format("{} free", format_bytes(free)), free,
          little ? Verdict::kWarning : Verdict::kGood, little ? "free some space: sets and runs lie there" : ""};
}

/// What holds functions to their limits here. Numbers of a run without control groups depend on what else runs.
Finding check_sandbox() {
  try {
    const auto powers = SandboxMaker("doctor").powers();
    const bool lacks = powers.cpu.empty() || powers.network.empty() || powers.files.empty() || powers.pids.empty() ||
                       powers.processes.empty() || powers.memory == "watched";
    auto remedy = powers.objection + (powers.objection.empty() ? "" : "; ") +
                  "as root, or in a control group of your own (systemd-run --user --scope -p Delegate=yes virga ...), "
                  "functions are held to all limits (docs/sandbox.md)";
    return {"sandbox", describe(powers), describe(powers), lacks ? Verdict::kWarning : Verdict::kGood,
            lacks ? std::move(remedy) : ""};
  } catch (const Error& error) {
    return {"sandbox", error.what(), nullptr, Verdict::kBad, "functions cannot be run here: use --engine single"};
  }
}

std::vector<Finding> examine(const Session& session) {
  const auto memory = memory_limit();
  const auto home = session.home();
  std::vector<Finding> findings{
      {"version", fmt::format("{}, compiler {}", created_by(), __VERSION__), created_by()},
      {"cores", fmt::format("{} usable of {}", usable_cores(), ::sysconf(_SC_NPROCESSORS_ONLN)), usable_cores()},
      {"memory_bytes", format_bytes(memory), memory, memory < kLittleMemory ? Verdict::kWarning : Verdict::kGood,
       memory < kLittleMemory ? "use smaller batches and fewer workers" : ""},
      {"simd", simd_level(), simd_level(), simd_level() == "scalar" ? Verdict::kWarning : Verdict::kGood,
       simd_level() == "scalar" ? "this processor has no AVX2: results are the same, only slower" : ""},
      check_sandbox(),
      check_home(home),
      check_disk(home)};
  return findings;
}

int doctor(Session& session) {
  const auto findings = examine(session);
  bool bad = false;
  std::string text;
  auto list = nlohmann::json::array();
  for (const auto& finding : findings) {
    bad = bad || finding.verdict == Verdict::kBad;
    const char* mark = finding.verdict == Verdict::kGood ? "ok" : finding.verdict == Verdict::kBad ? "BAD" : "note";
    text += fmt::format("{:<5} {:<16} {}\n", mark, finding.name, finding.text);
    if (!finding.remedy.empty()) text += fmt::format("      remedy: {}\n", finding.remedy);
    list.push_back({{"name", finding.name}, {"verdict", mark}, {"value", finding.value}, {"remedy", finding.remedy}});
  }
  if (session.json()) {
    session.print_json({{"healthy", !bad}, {"findings", std::move(list)}});
  } else {
    session.print(text);
  }
  return bad ? 1 : 0;
}

}  // namespace

void add_doctor_command(Program& program) {
  program.add(
      "Setting up",
      {.name = "doctor",
       .summary = "Checks that this machine can run Virga",
       .details =
           "Cores, memory (also the control group's limit), vector instructions, the sandbox that functions get, "
           "$VIRGA_HOME and free disk. "
           "Exit code 1 if something is in the way.",
       .examples = {{"virga doctor", "one line for each thing that matters"}}},
      doctor);
}

}  // namespace virga
