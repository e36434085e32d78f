#include "virga/base/units.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <numeric>
#include <utility>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {
namespace {

struct Quantity {
  double number;
  std::string_view unit;
};

Quantity split_unit(std::string_view text, std::string_view what) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || !std::isfinite(number) || number < 0) {
    throw Error(ErrorKind::kUsage, fmt::format("{}: '{}' is not a number with a unit", what, text));
  }
  auto unit = text.substr(static_cast<std::size_t>(end - text.data()));
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  return {number, unit};
}

struct Unit {
  std::string_view name;
  double factor;
};

constexpr Unit kByteUnits[] = {{"", 1},
                               {"B", 1},
                               {"k", 1e3},
                               {"K", 1e3},
                               {"kB", 1e3},
                               {"KB", 1e3},
                               {"M", 1e6},
                               {"MB", 1e6},
                               {"G", 1e9},
                               {"GB", 1e9},
                               {"T", 1e12},
                               {"TB", 1e12},
                               {"KiB", 1024.0},
                               {"MiB", 1048576.0},
                               {"GiB", 1073741824.0},
                               {"TiB", 1099511627776.0}};
constexpr Unit kTimeUnits[] = {{"", 1},     {"s", 1},    {"sec", 1},     {"ms", 1e-3},    {"us", 1e-6}, {"m", 60},
                               {"min", 60}, {"h", 3600}, {"hour", 3600}, {"hours", 3600}, {"d", 86400}};

template <std::size_t N>
double convert(std::string_view text, std::string_view what, const Unit (&units)[N], std::string_view examples) {
  const auto [number, unit] = split_unit(text, what);
  for (const auto& known : units) {
    if (known.name == unit) return number * known.factor;
  }
  throw Error(ErrorKind::kUsage, fmt::format("{}: unknown unit '{}' in '{}'", what, unit, text),
              fmt::format("write it like {}", examples));
}

/// Insertions, deletions, substitutions and swaps of neighbours that turn one into the other (optimal string
/// alignment).
std::size_t edit_distance(std::string_view a, std::string_view b) {
  const std::size_t columns = b.size() + 1;
  std::vector<std::size_t> before(columns);
  std::vector<std::size_t> above(columns);
  std::vector<std::size_t> row(columns);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::swap(before, above);
    std::swap(above, row);
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const auto substituted = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, substituted});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return row.back();
}

}  // namespace

std::uint64_t parse_bytes(std::string_view text, std::string_view what) {
  const double bytes = convert(text, what, kByteUnits, "1769MB, 8MiB or 2GB");
  if (bytes >= 0x1p63) throw Error(ErrorKind::kUsage, fmt::format("{}: '{}' is too large", what, text));
  return static_cast<std::uint64_t>(std::llround(bytes));
}

std::chrono::nanoseconds parse_duration(std::string_view text, std::string_view what) {
  const double seconds = convert(text, what, kTimeUnits, "15min, 90s or 250ms");
  if (seconds > 9e9) throw Error(ErrorKind::kUsage, fmt::format("{}: '{}' is too long", what, text));
  return std::chrono::nanoseconds(std::llround(seconds * 1e9));
}

std::string format_bytes(std::uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes);
  const char* unit = "B";
  for (const char* larger : {"KiB", "MiB", "GiB", "TiB", "PiB"}) {
    if (value < 1024) break;
    value /= 1024;
    unit = larger;
  }
  return fmt::format("{:.1f} {}", value, unit);
}

std::string format_seconds(double seconds) {
  return format_duration(std::chrono::nanoseconds(std::llround(std::clamp(seconds, 0.0, 9e9) * 1e9)));
}

std::string format_duration(std::chrono::nanoseconds duration) {
  const double seconds = std::chrono::duration<double>(duration).count();
  if (seconds < 1e-3) return fmt::format("{:.0f} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.0f} ms", seconds * 1e3);
  if (seconds < 10) return fmt::format("{:.2f} s", seconds);
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{}m {:02}s", whole / 60, whole % 60);
  return fmt::format("{}h {:02}m", whole / 3600, whole / 60 % 60);
}

std::string format_count(std::uint64_t count) {
  auto digits = std::to_string(count);
  for (auto i = static_cast<std::ptrdiff_t>(digits.size()) - 3; i > 0; i -= 3)
    digits.insert(static_cast<std::size_t>(i), ",");
  return digits;
}

std::string nearest_word(std::string_view word, const std::vector<std::string>& known) {
  const std::string* best = nullptr;
  std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const auto& candidate : known) {
    const auto distance = edit_distance(word, candidate);
    if (distance < best_distance) best = &candidate, best_distance = distance;
  }
  return best != nullptr ? *best : std::string();
}

}  // namespace virga
