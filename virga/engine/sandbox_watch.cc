#include "virga/engine/sandbox_watch.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <string>

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>

#include "virga/net/descriptor.h"

namespace virga {

namespace {

/// What a small file of /proc says; empty if it is gone. Such a file is read in one piece: it changes all the time.
std::string read_small(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return {};
  std::array<char, 8192> text;
  const auto count = ::read(file.get(), text.data(), text.size());
  return count <= 0 ? std::string() : std::string(text.data(), static_cast<std::size_t>(count));
}

std::chrono::nanoseconds from_ticks(std::uint64_t ticks) {
  static const auto per_second = static_cast<std::uint64_t>(std::max(1L, ::sysconf(_SC_CLK_TCK)));
  return std::chrono::nanoseconds(ticks * (1'000'000'000 / per_second));
}

/// The bytes in a line "KEY:   NUMBER kB".
std::uint64_t kilobytes(std::string_view text, std::string_view key) {
  auto at = text.starts_with(key) ? 0 : text.find("\n" + std::string(key));
  if (at == std::string_view::npos) return 0;
  at = text.find_first_of("0123456789", at + key.size());
  if (at == std::string_view::npos) return 0;
  std::uint64_t number = 0;
  std::from_chars(text.data() + at, text.data() + text.size(), number);
  return number << 10;
}

}  // namespace

std::optional<ProcessFacts> parse_process(std::string_view text) {
  const auto open = text.find('(');
  const auto close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close + 2 >= text.size())
    return std::nullopt;
  ProcessFacts facts;
  std::from_chars(text.data(), text.data() + open, facts.pid);
  facts.state = text[close + 2];
  // The fields after the state, which is the third: parent is the 4th, utime the 14th, start the 22nd.
  constexpr std::size_t kFirst = 4;
  std::array<std::uint64_t, 19> fields{};
  const char* at = text.data() + close + 3;
  const char* const end = text.data() + text.size();
  for (auto& field : fields) {
    while (at != end && *at == ' ') ++at;
    const bool negative = at != end && *at == '-';
    const auto result = std::from_chars(negative ? at + 1 : at, end, field);
    if (result.ec != std::errc()) return std::nullopt;
    at = result.ptr;
  }
  facts.parent = static_cast<pid_t>(fields[0]);
  facts.cpu = from_ticks(fields[14 - kFirst] + fields[15 - kFirst]);
  facts.cpu_of_children = from_ticks(fields[16 - kFirst] + fields[17 - kFirst]);
  facts.start = fields[22 - kFirst];
  return facts;
}

std::optional<ProcessFacts> process_facts(pid_t pid) {
  return parse_process(read_small(fmt::format("/proc/{}/stat", pid)));
}

std::vector<ProcessFacts> descendants(pid_t root) {
  std::vector<ProcessFacts> all;
  if (DIR* folder = ::opendir("/proc"); folder != nullptr) {
    while (const auto* entry = ::readdir(folder)) {  // NOLINT(concurrency-mt-unsafe): the stream is ours alone
      const std::string_view name = entry->d_name;
      pid_t pid = 0;
      const auto result = std::from_chars(name.data(), name.data() + name.size(), pid);
      if (result.ec != std::errc() || result.ptr != name.data() + name.size()) continue;
      if (const auto facts = process_facts(pid)) all.push_back(*facts);
    }
    ::closedir(folder);
  }
  std::set<pid_t> known{root};
  std::vector<ProcessFacts> found;
  for (bool grown = true; grown;) {
    grown = false;
    for (const auto& facts : all) {
      if (!known.contains(facts.parent) || !known.insert(facts.pid).second) continue;
      found.push_back(facts);
      grown = true;
    }
  }
  return found;
}

std::uint64_t memory_of(const std::vector<ProcessFacts>& processes, std::uint64_t limit) {
  std::uint64_t at_most = 0;
  for (const auto& process : processes) {
    const auto status = read_small(fmt::format("/proc/{}/status", process.pid));
    at_most += kilobytes(status, "RssAnon:") + kilobytes(status, "RssShmem:");
  }
  if (at_most <= limit || processes.size() < 2) return at_most;
  std::uint64_t shared_out = 0;
  for (const auto& process : processes) {
    const auto rollup = read_small(fmt::format("/proc/{}/smaps_rollup", process.pid));
    shared_out += kilobytes(rollup, "Pss_Anon:") + kilobytes(rollup, "Pss_Shmem:");
  }
  // Without that file, or the right to read it, the higher figure stands.
  return shared_out == 0 ? at_most : shared_out;
}

}  // namespace virga
