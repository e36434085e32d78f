#include "virga/driver/run_report_html_parts.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/units.h"

namespace virga {
namespace {

constexpr double kWidth = 480;  // of a chart, in units that are pixels on a screen that has room
constexpr double kHeight = 250;
constexpr double kLeft = 52;
constexpr double kRight = 16;
constexpr double kTop = 14;
constexpr double kBottom = 44;
constexpr double kTimelineWidth = 960;
constexpr double kTimelineLeft = 84;
constexpr std::size_t kMostDots = 80;
constexpr std::size_t kMostRows = 64;
constexpr std::size_t kMostBars = 4000;

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void take(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  /// From 0 to 1; halves, so that the difference of two huge values does not overflow.
  [[nodiscard]] double part(double value) const {
    return std::clamp((value / 2 - low / 2) / (high / 2 - low / 2), 0.0, 1.0);
  }
  void widen() {
    if (high > low) return;
    const double margin = low == 0 ? 1 : std::abs(low) * 0.1;
    low -= margin;
    high += margin;
  }
};

/// About `count` round figures within the range.
std::vector<double> ticks(const Range& range, int count) {
  const double span = range.high - range.low;
  if (!std::isfinite(span) || !(span > 0)) return {range.low};
  const double power = std::pow(10.0, std::floor(std::log10(span / count)));
  double step = power;
  for (const double factor : {2.0, 5.0, 10.0}) {
    if (span / step > count) step = power * factor;
  }
  std::vector<double> result;
  const double first = std::ceil(range.low / step);
  for (int i = 0; i < 2 * count && (first + i) * step <= range.high + step * 1e-9; ++i) {
    const double tick = (first + i) * step;
    result.push_back(std::abs(tick) < step * 1e-9 ? 0 : tick);
  }
  return result;
}

std::string figure(double value, const std::string& unit) {
  return unit == "$" ? fmt::format("${:.4g}", value) : fmt::format("{:.4g}{}", value, unit);
}

std::string legend_entry(const std::string& style, const std::string& text) {
  return fmt::format(R"(<li><span class="key {}"></span>{}</li>)", style, escape_html(text));
}

std::string share_text(double part, double whole) {
  return fmt::format("{:.1f} %", whole > 0 ? 100 * part / whole : 0.0);
}

}  // namespace

std::string escape_html(std::string_view text) {
  using nlohmann::json;
  const auto valid = json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace)).get<std::string>();
  std::string out;
  for (const char c : valid) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        if ((static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') || c == 0x7F) {
          out += "\xEF\xBF\xBD";
        } else {
          out += c;
        }
    }
  }
  return out;
}

std::string line_chart(const Chart& chart) {
  Range x;
  Range y;
  for (const auto& line : chart.lines) {
    for (const auto& [at, value] : line.points) {
      x.take(at);
      y.take(value);
    }
  }
  if (!std::isfinite(x.low)) return fmt::format("<p class=\"none\">{}: no figures.</p>\n", escape_html(chart.title));
  if (chart.base) y.take(*chart.base);
  x.widen();
  y.widen();
  const auto to_x = [&](double at) { return kLeft + x.part(at) * (kWidth - kLeft - kRight); };
  const auto to_y = [&](double at) { return kHeight - kBottom - y.part(at) * (kHeight - kTop - kBottom); };

  auto out = fmt::format("<figure>\n<figcaption>{}</figcaption>\n", escape_html(chart.title));
  out += fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n", kWidth, kHeight,
                     escape_html(chart.title));
  for (const auto tick : ticks(y, 5)) {
    out += fmt::format(R"(<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>)", kLeft,
                       kWidth - kRight, to_y(tick), to_y(tick));
    out += fmt::format("<text class=\"y\" x=\"{:.1f}\" y=\"{:.1f}\">{:.4g}</text>\n", kLeft - 8, to_y(tick) + 4, tick);
  }
  for (const auto tick : ticks(x, 6)) {
    out += fmt::format("<text class=\"x\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", to_x(tick), kHeight - kBottom + 18,
                       escape_html(figure(tick, chart.x_unit)));
  }
  out += fmt::format("<text class=\"x\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", (kLeft + kWidth - kRight) / 2,
                     kHeight - 6, escape_html(chart.x_name));
  if (chart.base) {
    out += fmt::format("<line class=\"base\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>\n", kLeft,
                       kWidth - kRight, to_y(*chart.base), to_y(*chart.base));
  }
  for (const auto& line : chart.lines) {
    if (line.points.empty()) continue;
    out += fmt::format("<polyline class=\"line {}\" points=\"", line.style);
    for (const auto& [at, value] : line.points) out += fmt::format("{:.1f},{:.1f} ", to_x(at), to_y(value));
    out += "\"/>\n";
    if (line.points.size() > kMostDots) continue;
    for (const auto& [at, value] : line.points) {
      out += fmt::format(
          "<circle class=\"dot {}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"><title>{}: {:.6g} at {}</title></circle>\n",
          line.style, to_x(at), to_y(value), escape_html(line.name), value, escape_html(figure(at, chart.x_unit)));
    }
  }
  out += "</svg>\n<ul class=\"legend\">";
  for (const auto& line : chart.lines) {
    if (!line.points.empty()) out += legend_entry(line.style, line.name);
  }
  if (chart.base) out += legend_entry("base", fmt::format("{} {:.4g}", chart.base_name, *chart.base));
  return out + "</ul>\n</figure>\n";
}

namespace {

/// What an invocation's bar is divided into: the six groups, then the rest.
std::vector<Share> shares_of(const InvocationRecord& record) {
  if (!gave_answer(record)) return {{"no answer: " + record.end, "lost", record.seconds}};
  const auto groups = group_seconds(record);
  double claimed = 0;
  for (const auto seconds : groups) claimed += seconds;
  const double scale = claimed > record.seconds ? record.seconds / claimed : 1;
  std::vector<Share> shares;
  for (std::size_t i = 0; i < kTimeGroups; ++i) {
    const auto name = std::string(to_string(static_cast<TimeGroup>(i)));
    shares.push_back({name, name, groups[i] * scale});
  }
  shares.push_back({"platform and rest", "rest", std::max(0.0, record.seconds - claimed * scale)});
  return shares;
}

std::string bar_text(const InvocationRecord& record) {
  auto text = record.task == "worker" ? fmt::format("worker {}, generation {}", record.worker, record.generation)
                                      : fmt::format("evaluation of epoch {}", record.epoch);
  text += fmt::format(": {} from {}, {}", format_seconds(record.seconds), format_seconds(record.start_seconds),
                      record.init.count() > 0 ? "cold" : "warm or not said");
  if (record.rounds > 0) text += fmt::format(", {} rounds", format_count(record.rounds));
  text += ", " + record.end;
  for (const auto& share : shares_of(record)) {
    if (share.seconds > 0) text += fmt::format("\n{}: {}", share.name, format_seconds(share.seconds));
  }
  return text;
}

std::string bar(const InvocationRecord& record, double y, double height, double wall) {
  const auto to_x = [&](double seconds) {
    return kTimelineLeft + std::clamp(seconds / wall, 0.0, 1.0) * (kTimelineWidth - kTimelineLeft - kRight);
  };
  auto out = fmt::format("<g><title>{}</title>", escape_html(bar_text(record)));
  auto at = record.start_seconds;
  for (const auto& share : shares_of(record)) {
    if (!(share.seconds > 0)) continue;
    const auto x = to_x(at);
    at += share.seconds;
    out += fmt::format(R"(<rect class="part {}" x="{:.2f}" y="{:.1f}" width="{:.2f}" height="{:.1f}"/>)", share.style,
                       x, y, std::max(0.1, to_x(at) - x), height);
  }
  return out + "</g>\n";
}

}  // namespace

std::string worker_timeline(const std::vector<InvocationRecord>& invocations, double wall_seconds) {
  std::map<std::pair<bool, WorkerId>, std::vector<const InvocationRecord*>> rows;
  double wall = wall_seconds;
  for (const auto& record : invocations) {
    if (record.end == "throttled") continue;
    wall = std::max(wall, record.start_seconds + record.seconds);
    const bool worker = record.task == "worker";
    rows[{!worker, worker ? record.worker : 0}].push_back(&record);
  }
  if (rows.empty() || !(wall > 0)) return "<p class=\"none\">No function has worked.</p>\n";
  constexpr double kRow = 22;
  const auto shown = std::min(rows.size(), kMostRows);
  const double bottom = kTop + kRow * static_cast<double>(shown);
  auto out = fmt::format(
      "<figure>\n<div class=\"scroll\"><svg class=\"timeline\" viewBox=\"0 0 {} {:.0f}\" role=\"img\" "
      "aria-label=\"Workers over time\">\n",
      kTimelineWidth, bottom + 26);
  std::size_t bars = 0;
  std::size_t row = 0;
  for (const auto& [key, records] : rows) {
    if (row == shown) break;
    const double y = kTop + kRow * static_cast<double>(row++);
    const auto name = key.first ? std::string("evaluation") : fmt::format("worker {}", key.second);
    out += fmt::format("<text class=\"y\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", kTimelineLeft - 8, y + 14, name);
    for (const auto* record : records) {
      if (bars++ < kMostBars) out += bar(*record, y + 2, kRow - 5, wall);
    }
  }
  const Range time{.low = 0, .high = wall};
  for (const auto tick : ticks(time, 6)) {
    out += fmt::format("<text class=\"x\" x=\"{:.1f}\" y=\"{:.1f}\">{:.4g} s</text>\n",
                       kTimelineLeft + time.part(tick) * (kTimelineWidth - kTimelineLeft - kRight), bottom + 18, tick);
  }
  out += "</svg></div>\n<ul class=\"legend\">";
  for (std::size_t i = 0; i < kTimeGroups; ++i) {
    const auto name = std::string(to_string(static_cast<TimeGroup>(i)));
    out += legend_entry(name, i == 0 ? "start (cold start included)" : name);
  }
  out += legend_entry("rest", "platform and rest") + legend_entry("lost", "no answer") + "</ul>\n";
  if (rows.size() > shown) out += fmt::format("<p>The first {} of {} rows.</p>\n", shown, rows.size());
  if (bars > kMostBars) out += fmt::format("<p>The first {} of {} invocations.</p>\n", kMostBars, bars);
  return out + "</figure>\n";
}

std::string share_bar(const std::vector<Share>& shares) {
  double whole = 0;
  for (const auto& share : shares) whole += share.seconds;
  if (!(whole > 0)) return "<p class=\"none\">Nothing is known of it.</p>\n";
  std::string out = "<figure>\n<svg viewBox=\"0 0 480 18\" role=\"img\" aria-label=\"Shares of the time\">\n";
  double x = 0;
  for (const auto& share : shares) {
    const auto width = kWidth * share.seconds / whole;
    out += fmt::format(
        "<rect class=\"part {}\" x=\"{:.2f}\" y=\"0\" width=\"{:.2f}\" height=\"18\"><title>{}</title></rect>\n",
        share.style, x, width, escape_html(share.name + ": " + share_text(share.seconds, whole)));
    x += width;
  }
  out += "</svg>\n<ul class=\"legend\">";
  for (const auto& share : shares) {
    if (share.seconds <= 0) continue;
    out += legend_entry(share.style, fmt::format("{} {} ({})", share.name, format_seconds(share.seconds),
                                                 share_text(share.seconds, whole)));
  }
  return out + "</ul>\n</figure>\n";
}

std::string html_table(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows) {
  std::string out = "<div class=\"scroll\"><table>\n<thead><tr>";
  for (const auto& cell : head) out += fmt::format("<th>{}</th>", escape_html(cell));
  out += "</tr></thead>\n<tbody>\n";
  for (const auto& row : rows) {
    out += "<tr>";
    for (const auto& cell : row) out += fmt::format("<td>{}</td>", escape_html(cell));
    out += "</tr>\n";
  }
  return out + "</tbody>\n</table></div>\n";
}

namespace {

constexpr std::string_view kStyle = R"(
:root { color-scheme: light dark; --ground: #ffffff; --text: #1c2128; --soft: #59636e; --rule: #d6dbe1; --panel: #f5f7f9;
  --train: #2f6fb5; --validation: #c2571a; --base: #8a929b; --start: #8b6bb8; --input: #3f9e8f; --compute: #2f6fb5;
  --communicate: #d39a1e; --wait: #b9c0c8; --keep: #6f9a3d; --rest: #e3e7eb; --unknown: #9c6b53; --lost: #c0392b; --driver: #57606a; }
@media (prefers-color-scheme: dark) { :root { --ground: #14181d; --text: #e3e7ec; --soft: #9aa5b1; --rule: #343c46;
  --panel: #1c222a; --train: #6ca8e8; --validation: #f0935a; --base: #7d8793; --start: #a88bd6; --input: #5cc0b0;
  --compute: #6ca8e8; --communicate: #e4b54a; --wait: #56606b; --keep: #94c15e; --rest: #2b323b; --unknown: #a87a63; --lost: #e8695c;
  --driver: #aab4be; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px 16px 48px; max-width: 1120px; background: var(--ground); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0 0 4px; font-size: 26px; overflow-wrap: anywhere; }
h2 { margin: 40px 0 12px; padding-bottom: 4px; border-bottom: 1px solid var(--rule); font-size: 19px; }
p { margin: 8px 0; overflow-wrap: anywhere; }
.soft, figcaption, .none { color: var(--soft); font-size: 14px; }
.cards { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); margin: 20px 0 0; padding: 0; }
.cards div { padding: 10px 14px; background: var(--panel); border-radius: 8px; }
.cards dt { color: var(--soft); font-size: 13px; }
.cards dd { margin: 0; font-size: 20px; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.charts { display: grid; gap: 20px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }
figure { margin: 0; }
svg { display: block; width: 100%; height: auto; }
svg.timeline { min-width: 640px; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
text.x { text-anchor: middle; }
text.y { text-anchor: end; }
.grid { stroke: var(--rule); }
line.base { stroke: var(--base); stroke-dasharray: 5 4; }
polyline.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
polyline.train { stroke: var(--train); }
polyline.validation { stroke: var(--validation); }
circle.train, .key.train { fill: var(--train); background: var(--train); }
circle.validation, .key.validation { fill: var(--validation); background: var(--validation); }
polyline.series0 { stroke: var(--train); }
circle.series0, .key.series0 { fill: var(--train); background: var(--train); }
polyline.series1 { stroke: var(--validation); }
circle.series1, .key.series1 { fill: var(--validation); background: var(--validation); }
polyline.series2 { stroke: var(--keep); }
circle.series2, .key.series2 { fill: var(--keep); background: var(--keep); }
polyline.series3 { stroke: var(--start); }
circle.series3, .key.series3 { fill: var(--start); background: var(--start); }
polyline.series4 { stroke: var(--communicate); }
circle.series4, .key.series4 { fill: var(--communicate); background: var(--communicate); }
polyline.series5 { stroke: var(--lost); }
circle.series5, .key.series5 { fill: var(--lost); background: var(--lost); }
.key.base { background: var(--base); }
.part.start, .key.start { fill: var(--start); background: var(--start); }
.part.input, .key.input { fill: var(--input); background: var(--input); }
.part.compute, .key.compute { fill: var(--compute); background: var(--compute); }
.part.communicate, .key.communicate { fill: var(--communicate); background: var(--communicate); }
.part.wait, .key.wait { fill: var(--wait); background: var(--wait); }
.part.keep, .key.keep { fill: var(--keep); background: var(--keep); }
.part.rest, .key.rest { fill: var(--rest); background: var(--rest); }
.part.unknown, .key.unknown { fill: var(--unknown); background: var(--unknown); }
.part.lost, .key.lost { fill: var(--lost); background: var(--lost); }
.part.driver, .key.driver { fill: var(--driver); background: var(--driver); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 6px 0 0; padding: 0; list-style: none; font-size: 14px; }
.key { display: inline-block; width: 11px; height: 11px; margin-right: 6px; border-radius: 2px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 15px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 14px 4px 0; border-bottom: 1px solid var(--rule); text-align: right; vertical-align: top;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 72px; }
th { color: var(--soft); font-weight: 500; font-size: 14px; }
.matrix td, .matrix th { padding: 6px 12px; text-align: center; }
.matrix td { background: color-mix(in srgb, var(--train) calc(var(--share) * 55%), transparent); }
pre { margin: 4px 0; padding: 8px 12px; background: var(--panel); border-radius: 6px; overflow-x: auto; font-size: 13px;
  white-space: pre-wrap; overflow-wrap: anywhere; }
summary { cursor: pointer; }
)";

}  // namespace

std::string html_page(std::string_view title, std::string_view body) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src &#39;none&#39;; style-src "
      "&#39;unsafe-inline&#39;\">\n<title>{} - Virga</title>\n<style>{}</style>\n</head>\n<body>\n{}</body>\n</html>\n",
      escape_html(title), kStyle, body);
}

}  // namespace virga
