#include "virga/engine/lambda_report.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <cstring>
#include <utility>

#include <fmt/format.h>

namespace virga::lambda {
namespace {

using Cause = Engine::Ended::Cause;
using std::chrono::microseconds;

constexpr std::string_view kReport = "REPORT RequestId: ";
constexpr std::uint64_t kMostMilliseconds = 1'000'000'000'000;  // no invocation lasts 30 years
constexpr std::uint64_t kMostMegabytes = 1'000'000'000;
constexpr std::size_t kMostIdBytes = 100;
constexpr std::size_t kMostTextBytes = 500;

std::string milliseconds(microseconds time) {
  const auto hundredths = (time.count() + 5) / 10;
  return fmt::format("{}.{:02} ms", hundredths / 100, hundredths % 100);
}

std::optional<std::uint64_t> whole(std::string_view text, std::uint64_t most) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > most) return std::nullopt;
  return value;
}

/// "12.34" in milliseconds, exactly; digits after the third place are cut off.
std::optional<microseconds> decimal_ms(std::string_view text) {
  const auto point = text.find('.');
  const auto before = whole(text.substr(0, point), kMostMilliseconds);
  if (!before) return std::nullopt;
  std::uint64_t micro = *before * 1000;
  if (point == std::string_view::npos) return microseconds(micro);
  auto after = std::string(text.substr(point + 1));
  if (after.empty() || !std::ranges::all_of(after, [](char c) { return c >= '0' && c <= '9'; })) return std::nullopt;
  after.resize(3, '0');
  return microseconds(micro + *whole(after, 999));
}

/// "NUMBER UNIT" without its unit.
std::optional<std::string_view> without(std::string_view unit, std::string_view text) {
  if (text.size() <= unit.size() + 1 || !text.ends_with(unit) || text[text.size() - unit.size() - 1] != ' ') {
    return std::nullopt;
  }
  return text.substr(0, text.size() - unit.size() - 1);
}

template <typename T>
bool set(T& to, const std::optional<T>& value) {
  if (value) to = *value;
  return value.has_value();
}

/// One "NAME: VALUE" of a REPORT line. Names that are not known are no error: AWS adds some.
bool read_field(std::string_view name, std::string_view value, Report& report) {
  auto& bill = report.bill;
  const auto time = without("ms", value).value_or("");
  const auto size = without("MB", value).value_or("");
  if (name == "Duration") return set(bill.duration, decimal_ms(time));
  if (name == "Init Duration") return set(bill.init, decimal_ms(time));
  if (name == "Billed Duration") {
    const auto count = whole(time, kMostMilliseconds);
    bill.billed = std::chrono::milliseconds(count.value_or(0));
    return count.has_value();
  }
  if (name == "Memory Size" || name == "Max Memory Used") {
    const auto megabytes = whole(size, kMostMegabytes);
    (name == "Memory Size" ? bill.memory_bytes : bill.peak_memory_bytes) = megabytes.value_or(0) * kMb;
    return megabytes.has_value();
  }
  if (name == "Status") report.status = value.substr(0, kMostIdBytes);
  if (name == "Error Type") report.error_type = value.substr(0, kMostIdBytes);
  return true;
}

std::optional<Report> parse_line(std::string_view line) {
  Report report;
  line.remove_prefix(kReport.size());
  auto end = std::min(line.find('\t'), line.size());
  report.bill.request_id = line.substr(0, end);
  if (report.bill.request_id.empty() || report.bill.request_id.size() > kMostIdBytes) return std::nullopt;
  bool has_billed = false;
  while (end < line.size()) {
    line.remove_prefix(end + 1);
    end = std::min(line.find('\t'), line.size());
    const auto field = line.substr(0, end);
    const auto colon = field.find(": ");
    if (colon == std::string_view::npos) continue;
    const auto name = field.substr(0, colon);
    auto value = field.substr(colon + 2);
    while (value.ends_with(' ')) value.remove_suffix(1);  // "13 ms ", as it was written for years
    if (!read_field(name, value, report)) return std::nullopt;
    has_billed = has_billed || name == "Billed Duration";
  }
  if (!has_billed) return std::nullopt;
  return report;
}

/// Calls `use` with each line, without its end, and whether it is whole.
template <typename Use>
void for_each_line(std::string_view text, const Use& use) {
  while (!text.empty()) {
    const auto end = text.find('\n');
    use(text.substr(0, end), end != std::string_view::npos);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
}

/// In one line of printable text.
std::string plain(std::string_view text) {
  std::string result(text.substr(0, kMostTextBytes));
  std::ranges::replace_if(
      result, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
  return result;
}

/// The names that Go, which AWS's supervisor is written in, has for signals.
constexpr std::array<std::pair<int, std::string_view>, 10> kSignals = {{{SIGHUP, "hangup"},
                                                                        {SIGINT, "interrupt"},
                                                                        {SIGQUIT, "quit"},
                                                                        {SIGILL, "illegal instruction"},
                                                                        {SIGABRT, "aborted"},
                                                                        {SIGBUS, "bus error"},
                                                                        {SIGFPE, "floating point exception"},
                                                                        {SIGKILL, "killed"},
                                                                        {SIGSEGV, "segmentation fault"},
                                                                        {SIGTERM, "terminated"}}};

FunctionError exit_error(std::string_view type, std::string_view request_id, std::string_view how) {
  return {.error_type = std::string(type),
          .error_message = fmt::format("RequestId: {} Error: Runtime exited with error: {}", request_id, how),
          .stack_trace = {}};
}

/// What follows `mark` in `text`, to the end.
std::optional<std::string_view> after(std::string_view mark, std::string_view text) {
  const auto at = text.find(mark);
  if (at == std::string_view::npos) return std::nullopt;
  return text.substr(at + mark.size());
}

Death out_of_memory(const std::optional<Report>& report) {
  Death death{.cause = Cause::kOutOfMemory, .text = "ran out of memory"};
  if (!report || report->bill.memory_bytes == 0) return death;
  const auto limit = report->bill.memory_bytes / kMb;
  const auto peak = report->bill.peak_memory_bytes / kMb;
  death.text += fmt::format(": {} MB were not enough (peak {} MB)", limit, peak);
  const auto more = std::min<std::uint64_t>((limit * 3 / 2 + 63) / 64 * 64, kMostMemoryMb);
  if (more > limit) death.text += fmt::format("; give it more: --memory {}MB", more);
  return death;
}

bool is_full(const std::optional<Report>& report) {
  if (!report || report->bill.memory_bytes == 0) return false;
  return report->bill.peak_memory_bytes * 100 >= report->bill.memory_bytes * 95;
}

Death exited(std::string_view how, const std::optional<Report>& report) {
  if (const auto signal = after("signal: ", how)) {
    if (signal->starts_with("killed") && is_full(report)) return out_of_memory(report);
    const auto* const known =
        std::ranges::find_if(kSignals, [&](const auto& entry) { return signal->starts_with(entry.second); });
    if (known == kSignals.end()) {
      const auto number = signal->starts_with("signal ") ? signal->substr(7) : *signal;
      return {.cause = Cause::kCrashed, .text = plain(fmt::format("killed by signal {}", number))};
    }
    return {.cause = Cause::kCrashed, .text = fmt::format("killed by signal {} ({})", known->first, known->second)};
  }
  return {.cause = Cause::kCrashed, .text = plain(how)};
}

}  // namespace

std::string start_line(std::string_view request_id, std::string_view version) {
  return fmt::format("START RequestId: {} Version: {}\n", request_id, version);
}

std::string end_line(std::string_view request_id) { return fmt::format("END RequestId: {}\n", request_id); }

std::string report_line(const Report& report) {
  const auto& bill = report.bill;
  auto line = fmt::format("{}{}\tDuration: {}\tBilled Duration: {} ms\tMemory Size: {} MB\tMax Memory Used: {} MB\t",
                          kReport, bill.request_id, milliseconds(bill.duration), bill.billed.count(),
                          bill.memory_bytes / kMb, (bill.peak_memory_bytes + kMb - 1) / kMb);
  if (bill.init.count() > 0) line += fmt::format("Init Duration: {}\t", milliseconds(bill.init));
  if (!report.status.empty()) line += fmt::format("Status: {}\t", report.status);
  if (!report.error_type.empty()) line += fmt::format("Error Type: {}\t", report.error_type);
  return line + "\n";
}

std::optional<Report> parse_report(std::string_view log) {
  std::optional<Report> report;
  for_each_line(log, [&](std::string_view line, bool) {
    if (!line.starts_with(kReport)) return;
    if (auto read = parse_line(line)) report = std::move(read);
  });
  return report;
}

std::string own_lines(std::string_view log) {
  constexpr std::array<std::string_view, 6> kPlatform = {"START RequestId: ", "END RequestId: ", kReport,
                                                         "INIT_START ",       "INIT_REPORT ",    "XRAY TraceId: "};
  std::string own;
  for_each_line(log, [&](std::string_view line, bool is_whole) {
    if (std::ranges::any_of(kPlatform, [&](auto begin) { return line.starts_with(begin); })) return;
    own += line;
    if (is_whole) own += '\n';
  });
  return own;
}

std::string_view tail_of(std::string_view log, std::size_t bytes) noexcept {
  return log.size() <= bytes ? log : log.substr(log.size() - bytes);
}

FunctionError timed_out_error(std::string_view request_id, std::chrono::milliseconds timeout) {
  const auto hundredths = timeout.count() / 10;
  return {.error_type = "Sandbox.Timedout",
          .error_message = fmt::format("RequestId: {} Error: Task timed out after {}.{:02} seconds", request_id,
                                       hundredths / 100, hundredths % 100),
          .stack_trace = {}};
}

FunctionError exited_error(std::string_view request_id, int exit_code) {
  // A process that just leaves, all well, has not said why.
  if (exit_code == 0) {
    return {.error_type = "Runtime.ExitError",
            .error_message = fmt::format("RequestId: {} Error: Runtime exited without providing a reason", request_id),
            .stack_trace = {}};
  }
  return exit_error("Runtime.ExitError", request_id, fmt::format("exit status {}", exit_code));
}

FunctionError killed_error(std::string_view request_id, int signal) {
  const auto* const known = std::ranges::find_if(kSignals, [&](const auto& entry) { return entry.first == signal; });
  const auto name = known == kSignals.end() ? fmt::format("signal {}", signal) : std::string(known->second);
  return exit_error("Runtime.ExitError", request_id, "signal: " + name);
}

FunctionError out_of_memory_error(std::string_view request_id) {
  return exit_error("Runtime.OutOfMemory", request_id, "signal: killed");
}

Death death_of(const FunctionError& error, const std::optional<Report>& report) {
  const std::string_view message = error.error_message;
  if (const auto time = after("Task timed out after ", message)) {
    const auto seconds = time->substr(0, std::min(time->find(" seconds"), time->size()));
    return {.cause = Cause::kTimedOut, .text = plain(fmt::format("timed out after {} s", seconds))};
  }
  if (error.error_type == "Sandbox.Timedout") return {.cause = Cause::kTimedOut, .text = "timed out"};
  if (error.error_type == "Runtime.OutOfMemory" || (report && report->error_type == "Runtime.OutOfMemory")) {
    return out_of_memory(report);
  }
  if (const auto how = after("Runtime exited with error: ", message); how && !how->empty()) return exited(*how, report);
  if (message.find("Runtime exited without providing a reason") != std::string_view::npos) {
    return {.cause = Cause::kCrashed, .text = "ended without an answer"};
  }
  if (error.error_type.empty() && message.empty()) return {.cause = Cause::kCrashed, .text = "failed without a word"};
  if (error.error_type.empty()) return {.cause = Cause::kCrashed, .text = plain(message)};
  return {.cause = Cause::kCrashed, .text = plain(fmt::format("{}: {}", error.error_type, message))};
}

}  // namespace virga::lambda
