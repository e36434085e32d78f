// The format of a ledger: docs/formats/ledger.md.
#include "virga/cost/ledger.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/cost/json_reader.h"

namespace virga {
namespace {

using nlohmann::json;
using ordered_json = nlohmann::ordered_json;

constexpr std::uint64_t kSchemaVersion = 1;
constexpr std::uint64_t kMostFileBytes = 256 << 20;
constexpr std::size_t kMostLineBytes = 64 << 10;
constexpr std::size_t kMostSaidBytes = 4 << 10;  // in UTF-8
constexpr double kMostSeconds = 1e9;
constexpr std::uint64_t kMostCount = std::uint64_t{1} << 60;
constexpr std::uint64_t kMostMicroseconds = 1'000'000'000'000'000;
constexpr std::uint64_t kMostMilliseconds = 1'000'000'000'000;

constexpr std::array<std::string_view, 2> kTasks = {"worker", "evaluate"};
constexpr std::array<std::string_view, 11> kEnds = {"done",          "continue",  "superseded", "orphaned",
                                                    "evaluated",     "error",     "crashed",    "timeout",
                                                    "out_of_memory", "throttled", "abandoned"};

bool is_one_of(std::string_view word, std::span<const std::string_view> words) {
  return std::ranges::find(words, word) != words.end();
}

double bounded(double seconds) { return seconds > 0 ? std::min(seconds, kMostSeconds) : 0; }
std::uint64_t bounded(std::uint64_t count) { return std::min(count, kMostCount); }
std::int64_t bounded(std::int64_t count, std::uint64_t most) {
  return std::clamp(count, std::int64_t{0}, static_cast<std::int64_t>(most));
}

/// The end of `text`, whole characters, as much as the format keeps.
std::string utf8_end(std::string_view text) {
  text.remove_prefix(text.size() - std::min(text.size(), kMostSaidBytes));
  auto valid = json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace)).get<std::string>();
  auto from = valid.size() - std::min(valid.size(), kMostSaidBytes);
  while (from < valid.size() && (static_cast<unsigned char>(valid[from]) & 0xC0) == 0x80) ++from;
  return valid.substr(from);
}

std::string line_of(const ordered_json& record) { return record.dump() + "\n"; }

ordered_json phases_json(const PhaseTimes& times) {
  ordered_json phases;
  for (std::size_t i = 0; i < kWorkPhases; ++i) {
    const auto phase = static_cast<WorkPhase>(i);
    phases[std::string(to_string(phase))] = bounded(std::chrono::duration<double>(times[phase]).count());
  }
  return phases;
}

PhaseTimes read_phases(const JsonReader& record) {
  const JsonReader fields(
      record.object("phase_seconds"), record.path("phase_seconds"), ErrorKind::kCorrupt,
      {"start", "data", "read", "compute", "encode", "send", "wait", "decode", "sum", "apply", "keep"});
  PhaseTimes times;
  for (std::size_t i = 0; i < kWorkPhases; ++i) {
    const auto phase = static_cast<WorkPhase>(i);
    times.add(phase, std::chrono::nanoseconds(std::llround(fields.real(to_string(phase), kMostSeconds) * 1e9)));
  }
  return times;
}

constexpr std::size_t kMostNameBytes = 64;

/// That of an invocation on a virtual machine has one more member.
InvocationRecord read_invocation(json line, const std::string& what) {
  json instance;
  if (const auto said = line.find("instance"); said != line.end()) {
    instance = {{"instance", *said}};
    line.erase(said);
  }
  const JsonReader fields(line, what, ErrorKind::kCorrupt,
                          {"schema_version",
                           "kind",
                           "task",
                           "worker",
                           "generation",
                           "epoch",
                           "end",
                           "start_seconds",
                           "seconds",
                           "init_us",
                           "duration_us",
                           "billed_ms",
                           "memory_bytes",
                           "peak_memory_bytes",
                           "cpu_seconds",
                           "rounds",
                           "messages_put",
                           "messages_got",
                           "bytes_put",
                           "bytes_got",
                           "phase_seconds",
                           "said"});
  const auto count = [&](std::string_view name) { return fields.count(name, 0, kMostCount); };
  const auto number = [&](std::string_view name) { return static_cast<std::uint32_t>(fields.count(name, 0, ~0U)); };
  const auto microseconds = [&](std::string_view name) {
    return std::chrono::microseconds(fields.count(name, 0, kMostMicroseconds));
  };
  InvocationRecord record;
  record.task = fields.text("task", 1, 16);
  if (!is_one_of(record.task, kTasks)) fields.refuse("task", "is not known");
  record.worker = number("worker");
  record.generation = number("generation");
  record.epoch = number("epoch");
  record.end = fields.text("end", 1, 16);
  if (!is_one_of(record.end, kEnds)) fields.refuse("end", "is not known");
  record.start_seconds = fields.real("start_seconds", kMostSeconds);
  record.seconds = fields.real("seconds", kMostSeconds);
  record.init = microseconds("init_us");
  record.duration = microseconds("duration_us");
  record.billed = std::chrono::milliseconds(fields.count("billed_ms", 0, kMostMilliseconds));
  record.memory_bytes = count("memory_bytes");
  record.peak_memory_bytes = count("peak_memory_bytes");
  record.cpu_seconds = fields.real("cpu_seconds", kMostSeconds);
  record.rounds = count("rounds");
  record.messages_put = count("messages_put");
  record.messages_got = count("messages_got");
  record.bytes_put = count("bytes_put");
  record.bytes_got = count("bytes_got");
  record.phases = read_phases(fields);
  record.said = fields.text("said", 0, kMostSaidBytes);
  if (!instance.is_null()) {
    record.instance = JsonReader(instance, what, ErrorKind::kCorrupt, {"instance"}).text("instance", 1, kMostNameBytes);
  }
  return record;
}

ServiceRecord read_service(const json& line, const std::string& what) {
  const JsonReader fields(
      line, what, ErrorKind::kCorrupt,
      {"schema_version", "kind", "service", "start_seconds", "seconds", "writes", "reads", "bytes"});
  return {.service = fields.text("service", 1, kMostNameBytes),
          .start_seconds = fields.real("start_seconds", kMostSeconds),
          .seconds = fields.real("seconds", kMostSeconds),
          .writes = fields.count("writes", 0, kMostCount),
          .reads = fields.count("reads", 0, kMostCount),
          .bytes = fields.count("bytes", 0, kMostCount)};
}

VmRecord read_vm(const json& line, const std::string& what) {
  const JsonReader fields(
      line, what, ErrorKind::kCorrupt,
      {"schema_version", "kind", "worker", "instance", "start_seconds", "startup_seconds", "seconds"});
  return {.worker = static_cast<WorkerId>(fields.count("worker", 0, ~0U)),
          .instance = fields.text("instance", 1, kMostNameBytes),
          .start_seconds = fields.real("start_seconds", kMostSeconds),
          .startup_seconds = fields.real("startup_seconds", kMostSeconds),
          .seconds = fields.real("seconds", kMostSeconds)};
}

void take_line(Ledger& ledger, std::string_view text, const std::string& what) {
  if (text.size() > kMostLineBytes) {
    throw Error(ErrorKind::kCorrupt, fmt::format("{} has more than {} bytes", what, kMostLineBytes));
  }
  const auto line = parse_small_json(text, what, ErrorKind::kCorrupt);
  const auto word = [&](const char* name) { return line.is_object() && line.contains(name) ? line[name] : json(); };
  if (word("schema_version") != kSchemaVersion) {
    throw Error(ErrorKind::kCorrupt,
                fmt::format("{} is not of version {}, which this program reads", what, kSchemaVersion),
                "use the program that wrote it");
  }
  if (word("kind") == "invocation") {
    ledger.invocations.push_back(read_invocation(line, what));
  } else if (word("kind") == "service") {
    ledger.services.push_back(read_service(line, what));
  } else if (word("kind") == "vm") {
    ledger.vms.push_back(read_vm(line, what));
  } else {
    throw Error(ErrorKind::kCorrupt, fmt::format("{}: kind is none of \"invocation\", \"service\" and \"vm\"", what));
  }
}

}  // namespace

std::string ledger_line(const InvocationRecord& record) {
  check(is_one_of(record.task, kTasks) && is_one_of(record.end, kEnds), "a ledger knows the task and the end");
  check(record.instance.size() <= kMostNameBytes, "a type of virtual machine has a short name");
  ordered_json line = {{"schema_version", kSchemaVersion},
                       {"kind", "invocation"},
                       {"task", record.task},
                       {"worker", record.worker},
                       {"generation", record.generation},
                       {"epoch", record.epoch},
                       {"end", record.end},
                       {"start_seconds", bounded(record.start_seconds)},
                       {"seconds", bounded(record.seconds)},
                       {"init_us", bounded(record.init.count(), kMostMicroseconds)},
                       {"duration_us", bounded(record.duration.count(), kMostMicroseconds)},
                       {"billed_ms", bounded(record.billed.count(), kMostMilliseconds)},
                       {"memory_bytes", bounded(record.memory_bytes)},
                       {"peak_memory_bytes", bounded(record.peak_memory_bytes)},
                       {"cpu_seconds", bounded(record.cpu_seconds)},
                       {"rounds", bounded(record.rounds)},
                       {"messages_put", bounded(record.messages_put)},
                       {"messages_got", bounded(record.messages_got)},
                       {"bytes_put", bounded(record.bytes_put)},
                       {"bytes_got", bounded(record.bytes_got)},
                       {"phase_seconds", phases_json(record.phases)},
                       {"said", utf8_end(record.said)}};
  if (!record.instance.empty()) line["instance"] = record.instance;
  return line_of(line);
}

std::string ledger_line(const ServiceRecord& record) {
  check(!record.service.empty() && record.service.size() <= kMostNameBytes, "a service has a name");
  return line_of({{"schema_version", kSchemaVersion},
                  {"kind", "service"},
                  {"service", record.service},
                  {"start_seconds", bounded(record.start_seconds)},
                  {"seconds", bounded(record.seconds)},
                  {"writes", bounded(record.writes)},
                  {"reads", bounded(record.reads)},
                  {"bytes", bounded(record.bytes)}});
}

std::string ledger_line(const VmRecord& record) {
  check(!record.instance.empty() && record.instance.size() <= kMostNameBytes, "a virtual machine is of a type");
  return line_of({{"schema_version", kSchemaVersion},
                  {"kind", "vm"},
                  {"worker", record.worker},
                  {"instance", record.instance},
                  {"start_seconds", bounded(record.start_seconds)},
                  {"startup_seconds", bounded(record.startup_seconds)},
                  {"seconds", bounded(record.seconds)}});
}

double last_end_seconds(const Ledger& ledger) noexcept {
  double last = 0;
  for (const auto& record : ledger.invocations) last = std::max(last, record.start_seconds + record.seconds);
  for (const auto& record : ledger.services) last = std::max(last, record.start_seconds + record.seconds);
  for (const auto& record : ledger.vms) last = std::max(last, record.start_seconds + record.seconds);
  return last;
}

std::optional<double> first_worker_seconds(const Ledger& ledger) noexcept {
  std::optional<double> first;
  for (const auto& record : ledger.invocations) {
    if (record.task == "worker") first = std::min(first.value_or(record.start_seconds), record.start_seconds);
  }
  return first;
}

Ledger parse_ledger(std::string_view text) {
  Ledger ledger;
  std::size_t number = 1;
  for (auto end = text.find('\n'); end != std::string_view::npos; end = text.find('\n'), ++number) {
    take_line(ledger, text.substr(0, end), fmt::format("ledger line {}", number));
    text.remove_prefix(end + 1);
  }
  return ledger;
}

Ledger read_ledger(const std::filesystem::path& path) {
  const auto bytes = read_file(path, kMostFileBytes);
  return parse_ledger(as_text(bytes));
}

}  // namespace virga
