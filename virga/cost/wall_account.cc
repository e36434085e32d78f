#include "virga/cost/wall_account.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/units.h"

namespace virga {
namespace {

double sum_of(const GroupSeconds& groups) { return std::accumulate(groups.begin(), groups.end(), 0.0); }

/// How much of [from, to] the driver says to have worked in: stretches may overlap.
double driver_within(std::span<const DriverStretch> driver, double from, double to) {
  std::vector<std::pair<double, double>> pieces;
  for (const auto& stretch : driver) {
    const auto start = std::max(stretch.start_seconds, from);
    const auto end = std::min(stretch.start_seconds + stretch.seconds, to);
    if (end > start) pieces.emplace_back(start, end);
  }
  std::ranges::sort(pieces);
  double covered = 0;
  auto reached = from;
  for (const auto& [start, end] : pieces) {
    if (end <= reached) continue;
    covered += end - std::max(start, reached);
    reached = end;
  }
  return covered;
}

void add_gap(WallAccount& account, std::span<const DriverStretch> driver, double from, double to) {
  if (!(to > from)) return;
  const auto covered = driver_within(driver, from, to);
  account.driver_seconds += covered;
  account.unaccounted_seconds += to - from - covered;
}

/// `path_seconds` of the invocation lie on the path.
void add_invocation(WallAccount& account, const InvocationRecord& record, double path_seconds) {
  if (!gave_answer(record)) {
    account.lost_seconds += path_seconds;
    return;
  }
  const auto groups = group_seconds(record);
  const auto said = sum_of(groups);
  const auto inside = std::chrono::duration<double>(record.init + record.duration).count();
  const auto platform = record.duration.count() > 0 ? std::max(0.0, record.seconds - inside) : 0.0;
  // Clocks differ a little: what claims more than the driver saw is no account of it.
  const auto claimed = said + platform;
  const auto scale = claimed > record.seconds ? record.seconds / claimed : 1.0;
  const auto part = record.seconds > 0 ? path_seconds / record.seconds : 0.0;
  for (std::size_t i = 0; i < kTimeGroups; ++i) account.groups[i] += groups[i] * scale * part;
  account.platform_seconds += platform * scale * part;
  account.unaccounted_seconds += std::max(0.0, (record.seconds - claimed * scale) * part);
}

}  // namespace

double WallAccount::accounted_share() const noexcept {
  return wall_seconds > 0 ? std::clamp(1 - unaccounted_seconds / wall_seconds, 0.0, 1.0) : 1.0;
}

WallAccount account_wall_time(std::span<const InvocationRecord> invocations, std::span<const DriverStretch> driver,
                              double wall_seconds) {
  WallAccount account{.wall_seconds = std::max(0.0, wall_seconds)};
  // Latest ends first: walking back, all that reach up to `now` or beyond have been seen.
  std::vector<const InvocationRecord*> order;
  for (const auto& record : invocations) {
    if (record.seconds > 0) order.push_back(&record);
  }
  const auto end_of = [](const InvocationRecord* record) { return record->start_seconds + record->seconds; };
  std::ranges::stable_sort(order, [&](const auto* a, const auto* b) { return end_of(a) > end_of(b); });
  auto now = account.wall_seconds;
  std::size_t next = 0;
  const InvocationRecord* earliest = nullptr;  // of those that end at `now` or later
  while (now > 0) {
    for (; next < order.size() && end_of(order[next]) >= now; ++next) {
      if (earliest == nullptr || order[next]->start_seconds < earliest->start_seconds) earliest = order[next];
    }
    if (earliest != nullptr && earliest->start_seconds < now) {
      const auto from = std::max(0.0, earliest->start_seconds);
      add_invocation(account, *earliest, now - from);
      now = from;
      continue;
    }
    const auto before = next < order.size() ? std::max(0.0, end_of(order[next])) : 0.0;
    add_gap(account, driver, before, now);
    now = before;
  }
  return account;
}

nlohmann::json wall_account_json(const WallAccount& account) {
  nlohmann::json out = {{"wall_seconds", account.wall_seconds},
                        {"platform_seconds", account.platform_seconds},
                        {"lost_seconds", account.lost_seconds},
                        {"driver_seconds", account.driver_seconds},
                        {"unaccounted_seconds", account.unaccounted_seconds},
                        {"accounted_share", account.accounted_share()}};
  for (std::size_t i = 0; i < kTimeGroups; ++i) {
    out[fmt::format("{}_seconds", to_string(static_cast<TimeGroup>(i)))] = account.groups[i];
  }
  return out;
}

std::string wall_account_text(const WallAccount& account) {
  const auto wall = std::chrono::nanoseconds(std::llround(std::min(account.wall_seconds, 9e9) * 1e9));
  auto text = fmt::format("Time: {}:", format_duration(wall));
  const auto add = [&](std::string_view name, double seconds) {
    const auto share = account.wall_seconds > 0 ? 100 * seconds / account.wall_seconds : 0;
    if (share >= 0.5) text += fmt::format(" {} {:.0f} %,", name, share);
  };
  for (std::size_t i = 0; i < kTimeGroups; ++i) add(to_string(static_cast<TimeGroup>(i)), account.groups[i]);
  add("platform", account.platform_seconds);
  add("lost", account.lost_seconds);
  add("driver", account.driver_seconds);
  text.back() = text.back() == ',' ? ';' : ':';
  return text + fmt::format(" {:.1f} % of it accounted for\n", 100 * account.accounted_share());
}

}  // namespace virga
