#include "virga/cli/progress.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/units.h"

namespace virga {
namespace {

using std::chrono::duration;

constexpr auto kBarInterval = std::chrono::milliseconds(100);
constexpr auto kPlainInterval = std::chrono::seconds(5);
constexpr std::size_t kBarColumns = 24;
constexpr std::size_t kShortBarColumns = 10;

std::string amount(double value, const std::string& unit) {
  if (unit == "bytes") return fmt::format("{:.1f}", value / 1e6);
  return format_count(static_cast<std::uint64_t>(std::max(value, 0.0)));
}

std::string unit_name(const std::string& unit) { return unit == "bytes" ? "MB" : unit; }

std::optional<double> rate(const Progress& progress, double seconds) {
  if (seconds < 0.05 || progress.done <= 0) return std::nullopt;
  return progress.done / seconds;
}

std::optional<double> seconds_left(const Progress& progress, double seconds) {
  const auto speed = rate(progress, seconds);
  if (!speed || progress.total <= 0 || progress.done >= progress.total) return std::nullopt;
  return (progress.total - progress.done) / *speed;
}

/// `columns`: of the bar; 0: none.
std::string line_with(const Progress& progress, double seconds, std::size_t columns, bool amounts) {
  auto line = progress.phase;
  if (progress.total > 0) {
    const double part = std::clamp(progress.done / progress.total, 0.0, 1.0);
    const auto filled = static_cast<std::size_t>(part * static_cast<double>(columns));
    if (columns > 0) line += fmt::format("  [{:#<{}}{:.<{}}]", "", filled, "", columns - filled);
    line += fmt::format("  {:3.0f}%", std::floor(part * 100));
    if (amounts) {
      line += fmt::format("  {} of {} {}", amount(progress.done, progress.unit), amount(progress.total, progress.unit),
                          unit_name(progress.unit));
    }
  } else {
    line += fmt::format("  {} {}", amount(progress.done, progress.unit), unit_name(progress.unit));
  }
  // "epochs a second" says nothing that the time left does not say better.
  if (const auto speed = rate(progress, seconds); speed && progress.unit != "epochs") {
    line += fmt::format("  {} {}/s", amount(*speed, progress.unit), unit_name(progress.unit));
  }
  if (const auto left = seconds_left(progress, seconds); left && *left < 1e7) {
    line += fmt::format("  {} left", format_duration(std::chrono::nanoseconds(std::llround(*left * 1e9))));
  }
  const bool block = columns > 0 && !progress.below.empty();
  if (!block && !progress.detail.empty()) line += "  " + progress.detail;
  return line;
}

}  // namespace

std::string progress_line(const Progress& progress, double seconds, unsigned width, bool bar) {
  if (!bar) return line_with(progress, seconds, 0, true);
  for (const auto& [columns, amounts] :
       {std::pair{kBarColumns, true}, {kShortBarColumns, true}, {kShortBarColumns, false}}) {
    auto line = line_with(progress, seconds, columns, amounts);
    if (line.size() <= width) return line;
  }
  return line_with(progress, seconds, kShortBarColumns, false).substr(0, width);
}

std::string fitting_fields(const std::string& line, std::size_t width) {
  if (line.size() <= width) return line;
  const auto text = line.find_first_not_of(' ');
  const auto end = text == std::string::npos ? text : line.rfind("  ", width);
  return line.substr(0, end == std::string::npos || end <= text ? width : end);
}

ProgressDisplay::ProgressDisplay(Options options) : options_(std::move(options)) {}

ProgressDisplay::~ProgressDisplay() { clear_bar(); }

void ProgressDisplay::clear_bar() {
  const auto lines = std::exchange(lines_shown_, 0);
  if (lines == 1) options_.write("\r\x1b[K");
  if (lines > 1) options_.write(fmt::format("\r\x1b[{}A\x1b[J", lines - 1));
}

void ProgressDisplay::finish() {
  const std::lock_guard lock(mutex_);
  clear_bar();
}

void ProgressDisplay::report(const Progress& progress) {
  if (options_.mode == ProgressMode::kNone) return;
  const std::lock_guard lock(mutex_);
  const auto now = options_.now();
  if (progress.phase != phase_) {
    phase_ = progress.phase;
    phase_start_ = now;
    // A plain display says nothing of what is over before anybody wonders.
    drawn_ = options_.mode == ProgressMode::kPlain ? std::optional(now) : std::nullopt;
  }
  const bool complete = progress.total > 0 && progress.done >= progress.total && options_.mode != ProgressMode::kPlain;
  const auto interval = options_.mode == ProgressMode::kPlain ? kPlainInterval : kBarInterval;
  if (drawn_ && !complete && now - *drawn_ < interval) return;
  drawn_ = now;
  draw(progress, duration<double>(now - phase_start_).count());
}

void ProgressDisplay::draw(const Progress& progress, double seconds) {
  switch (options_.mode) {
    case ProgressMode::kBar:
      return draw_block(progress, seconds);
    case ProgressMode::kPlain:
      options_.write(progress_line(progress, seconds, options_.width, false) + "\n");
      return;
    case ProgressMode::kJsonl: {
      nlohmann::json event{{"event", "progress"},
                           {"phase", progress.phase},
                           {"done", progress.done},
                           {"total", progress.total > 0 ? nlohmann::json(progress.total) : nlohmann::json(nullptr)},
                           {"unit", progress.unit},
                           {"elapsed_seconds", seconds}};
      const auto left = seconds_left(progress, seconds);
      for (const auto& [name, value] : progress.facts) {
        event[name] = value && std::isfinite(*value) ? nlohmann::json(*value) : nlohmann::json(nullptr);
      }
      event["remaining_seconds"] = left ? nlohmann::json(*left) : nlohmann::json(nullptr);
      options_.write(event.dump() + "\n");
      return;
    }
    case ProgressMode::kNone:
      return;
  }
}

/// In one write, so that no half of it is seen.
void ProgressDisplay::draw_block(const Progress& progress, double seconds) {
  const auto width = (options_.measure ? options_.measure() : options_.width) -
                     1;  // a full line would make some terminals begin another
  auto text = lines_shown_ > 1 ? fmt::format("\r\x1b[{}A", lines_shown_ - 1) : std::string("\r");
  text += progress_line(progress, seconds, width, true) + "\x1b[K";
  for (const auto& line : progress.below) text += "\n" + fitting_fields(line, width) + "\x1b[K";
  const auto lines = 1 + progress.below.size();
  if (lines_shown_ > lines) text += "\x1b[J";
  lines_shown_ = lines;
  options_.write(text);
}

void ProgressDisplay::milestone(std::string_view line, std::string_view name, const nlohmann::json& event) {
  if (options_.mode == ProgressMode::kNone) return;
  const std::lock_guard lock(mutex_);
  if (options_.mode == ProgressMode::kJsonl) {
    auto named = event;
    named["event"] = name;
    options_.write(named.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
    return;
  }
  clear_bar();
  options_.write(std::string(line) + "\n");
}

}  // namespace virga
