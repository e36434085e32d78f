#include "virga/cli/plot.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/cli/table.h"

namespace virga {
namespace {

constexpr std::size_t kLabelColumns = 9;

struct Extent {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  std::size_t points = 0;  ///< of the longest series
  std::size_t drawn = 0;
};

Extent extent_of(const std::vector<Series>& series) {
  Extent extent;
  for (const auto& one : series) {
    extent.points = std::max(extent.points, one.values.size());
    for (const auto& value : one.values) {
      if (!value || !std::isfinite(*value)) continue;
      extent.low = std::min(extent.low, *value);
      extent.high = std::max(extent.high, *value);
      ++extent.drawn;
    }
  }
  if (extent.drawn > 0 && extent.high <= extent.low) {
    const double margin = extent.low == 0 ? 1 : std::abs(extent.low) * 0.1;
    extent.low -= margin;
    extent.high += margin;
  }
  return extent;
}

/// Index of the cell among `cells` at `part` (0 to 1) of the way.
std::size_t cell(double part, std::size_t cells) {
  return static_cast<std::size_t>(std::lround(std::clamp(part, 0.0, 1.0) * static_cast<double>(cells - 1)));
}

/// What a plot needs to know of its axis: where value i stands, from 0 to 1, and its ends.
struct Axis {
  std::vector<double> parts;
  std::string name, first, last;
};

std::string draw(const std::vector<Series>& series, const Extent& extent, const Axis& axis, std::size_t columns,
                 std::size_t height, bool unicode) {
  std::vector<std::string> canvas(height, std::string(columns, ' '));
  for (const auto& one : series) {
    for (std::size_t i = 0; i < one.values.size(); ++i) {
      if (!one.values[i] || !std::isfinite(*one.values[i])) continue;
      // Halves, so that the difference of two huge values does not overflow.
      const auto y = cell((*one.values[i] / 2 - extent.low / 2) / (extent.high / 2 - extent.low / 2), height);
      canvas[height - 1 - y][cell(axis.parts[i], columns)] = one.mark;
    }
  }
  std::string text;
  const std::string upright = unicode ? "│" : "|";
  for (std::size_t line = 0; line < height; ++line) {
    const bool labelled = line == 0 || line == height - 1;
    const auto label = labelled ? fmt::format("{:.4g}", line == 0 ? extent.high : extent.low) : std::string();
    auto row = canvas[line];
    row.erase(row.find_last_not_of(' ') + 1);
    text += fmt::format("{:>{}} {}{}\n", label, kLabelColumns, upright, row);
  }
  std::string rule;
  for (std::size_t c = 0; c < columns; ++c) rule += unicode ? "─" : "-";
  text += fmt::format("{:>{}} {}{}\n", "", kLabelColumns, unicode ? "└" : "+", rule);
  const auto ends = axis.first.size() + axis.last.size();
  const auto middle = columns > ends ? columns - ends : 1;
  text += fmt::format("{:>{}}  {}{:^{}}{}\n", "", kLabelColumns, axis.first, axis.name, middle, axis.last);
  text += std::string(kLabelColumns + 2, ' ');
  for (const auto& one : series) text += fmt::format("{} {}   ", one.mark, one.name);
  text.erase(text.find_last_not_of(' ') + 1);
  return text + "\n";
}

bool can_draw(const Extent& extent, std::size_t width, std::size_t height) {
  return extent.drawn >= 2 && width >= kLabelColumns + 10 && height >= 2;
}

}  // namespace

std::string plot(const std::vector<Series>& series, std::size_t width, std::size_t height, const std::string& x_name,
                 bool unicode) {
  const auto extent = extent_of(series);
  if (!can_draw(extent, width, height)) return {};
  const auto columns = std::min(width - kLabelColumns - 2, std::max<std::size_t>(extent.points * 3, 20));
  Axis axis{.parts = {}, .name = x_name, .first = "1", .last = std::to_string(extent.points)};
  for (std::size_t i = 0; i < extent.points; ++i) {
    axis.parts.push_back(extent.points < 2 ? 0 : static_cast<double>(i) / static_cast<double>(extent.points - 1));
  }
  return draw(series, extent, axis, columns, height, unicode);
}

std::string plot_over(const std::vector<Series>& series, const std::vector<double>& x, std::size_t width,
                      std::size_t height, const std::string& x_name, const std::string& first, const std::string& last,
                      bool unicode) {
  const auto extent = extent_of(series);
  if (!can_draw(extent, width, height)) return {};
  check(extent.points <= x.size(), "every value has its place");
  const auto columns = std::min(width - kLabelColumns - 2, std::max<std::size_t>(extent.points * 3, 40));
  Axis axis{.parts = {}, .name = x_name, .first = first, .last = last};
  const auto span = x.back() / 2 - x.front() / 2;
  for (const auto at : x) axis.parts.push_back(span > 0 ? (at / 2 - x.front() / 2) / span : 0);
  return draw(series, extent, axis, columns, height, unicode);
}

}  // namespace virga
