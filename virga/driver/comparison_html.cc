#include <algorithm>
#include <functional>

#include <fmt/format.h>

#include "virga/base/units.h"
#include "virga/driver/comparison.h"
#include "virga/driver/run_report_html_parts.h"

namespace virga {
namespace {

constexpr std::size_t kStyles = 6;  // of lines

std::string middle(const std::optional<Spread>& spread, const std::function<std::string(double)>& text) {
  if (!spread) return "-";
  if (spread->least == spread->most) return text(spread->median);
  return fmt::format("{} ({} to {})", text(spread->median), text(spread->least), text(spread->most));
}

std::string usd_text(double usd) { return format_usd(bounded_usd(usd)); }
std::string count_text(double count) { return format_count(static_cast<std::uint64_t>(count)); }

std::string figures_table(const Comparison& comparison, std::optional<double> loss) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& preset : comparison.presets) {
    const auto f = figures_of(preset, loss);
    rows.push_back({preset.name + (preset.oversubscribed ? " (oversubscribed)" : ""), count_text(preset.workers),
                    fmt::format("{} of {}", f.reached, preset.runs.size()),
                    middle(f.best_loss, [](double value) { return fmt::format("{:.5f}", value); }),
                    middle(f.seconds, format_seconds), middle(f.started_seconds, format_seconds),
                    middle(f.usd, usd_text), middle(f.rounds, count_text), middle(f.wall_seconds, format_seconds),
                    middle(f.wall_usd, usd_text),
                    middle(f.bytes, [](double value) { return format_bytes(static_cast<std::uint64_t>(value)); })});
  }
  return html_table({"preset", "workers", "reached", "best loss", "time to loss", "with start-up", "dollars to loss",
                     "rounds to loss", "whole run", "dollars in all", "exchanged"},
                    rows);
}

/// Of each preset the first run that did not fail.
std::string chart(const Comparison& comparison, const char* title, const char* x_name, const char* unit,
                  std::optional<double> loss, const std::function<double(const ComparedPoint&)>& x) {
  Chart drawing{
      .title = title, .x_name = x_name, .x_unit = unit, .lines = {}, .base = loss, .base_name = "compared at"};
  for (std::size_t i = 0; i < comparison.presets.size(); ++i) {
    const auto& preset = comparison.presets[i];
    const auto run = std::ranges::find_if(preset.runs, [](const ComparedRun& one) { return one.error.empty(); });
    ChartLine line{.name = preset.name, .style = fmt::format("series{}", i % kStyles), .points = {}};
    if (run != preset.runs.end()) {
      for (const auto& point : run->points) line.points.emplace_back(x(point), point.loss);
    }
    drawing.lines.push_back(std::move(line));
  }
  return line_chart(drawing);
}

/// The lowest loss that had been reached by fixed sums: halves of what the dearest run cost.
std::string losses_at_budgets(const Comparison& comparison) {
  Usd most;
  for (const auto& preset : comparison.presets) {
    for (const auto& run : preset.runs) most = std::max(most, run.usd);
  }
  if (most == Usd()) return "";
  std::vector<std::string> head{"preset"};
  std::vector<Usd> sums;
  for (int halves = 5; halves >= 0; --halves) {
    sums.push_back(Usd::picodollars(most.picodollars() >> halves));
    head.push_back(format_usd(sums.back()));
  }
  std::vector<std::vector<std::string>> rows;
  for (const auto& preset : comparison.presets) {
    rows.push_back({preset.name});
    for (const auto sum : sums) {
      std::vector<double> losses;
      for (const auto& run : preset.runs) {
        std::optional<double> lowest;
        for (const auto& point : run.points) {
          if (point.usd <= sum) lowest = std::min(lowest.value_or(point.loss), point.loss);
        }
        if (lowest) losses.push_back(*lowest);
      }
      const auto spread = spread_of(losses);
      rows.back().push_back(spread ? fmt::format("{:.5f}", spread->median) : "-");
    }
  }
  return "<h2>Loss for a sum</h2>\n" + html_table(head, rows);
}

std::string time_splits(const Comparison& comparison) {
  std::string out = "<h2>Where the workers' time went</h2>\n";
  bool any = false;
  for (const auto& preset : comparison.presets) {
    if ((!preset.functions && preset.instance.empty()) || preset.runs.empty()) continue;
    std::vector<Share> shares;
    for (std::size_t i = 0; i < kTimeGroups; ++i) {
      const auto name = std::string(to_string(static_cast<TimeGroup>(i)));
      shares.push_back({name, name, preset.runs.front().groups[i]});
    }
    out += fmt::format("<p>{}</p>\n{}", escape_html(preset.name), share_bar(shares));
    any = true;
  }
  return any ? out : "";
}

std::string tunings(const Comparison& comparison) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& preset : comparison.presets) {
    if (preset.tuning) rows.push_back({preset.name, tuning_text(*preset.tuning)});
  }
  return rows.empty() ? "" : "<h2>Tuned</h2>\n" + html_table({"preset", "what came out best"}, rows);
}

std::string run_list(const Comparison& comparison) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& preset : comparison.presets) {
    for (const auto& run : preset.runs) {
      rows.push_back({preset.name, std::to_string(run.seed), run.run.empty() ? "-" : run.run,
                      run.error.empty() ? run.ended_by : run.error});
    }
  }
  return "<h2>Runs</h2>\n" + html_table({"preset", "seed", "run", "ended by"}, rows);
}

}  // namespace

std::string comparison_html(const Comparison& comparison, const PriceTable& table) {
  const auto loss = common_loss(comparison);
  auto out = fmt::format("<h1>{}</h1>\n", escape_html("Comparison on " + comparison.data));
  out += fmt::format(
      "<p class=\"soft\">{}</p>\n",
      escape_html(fmt::format("On {} cores of one machine. Dollars are what it would have cost on {} ({}"
                              "prices of {}){}; threads as rented cores. {}",
                              comparison.cores, table.name, table.region.empty() ? "" : table.region + ", ", table.date,
                              has_machines(comparison) ? " and " + table.instances.name : "", startup_note(table))));
  if (loss) {
    out += fmt::format("<p>Compared at a loss of {:.5f}, which {}.</p>\n", *loss,
                       comparison.wanted_loss ? "the job wants" : "all have reached");
  }
  out += figures_table(comparison, loss) + "<ul>\n";
  for (const auto& line : verdicts(comparison)) out += fmt::format("<li>{}</li>\n", escape_html(line));
  out += "</ul>\n<h2>Loss</h2>\n<div class=\"charts\">\n";
  out += chart(comparison, "Loss over time", "since the run began", " s", loss,
               [](const ComparedPoint& point) { return point.seconds; });
  out += chart(comparison, "Loss over epochs", "epochs", "", loss,
               [](const ComparedPoint& point) { return double{1} * point.epoch; });
  out += chart(comparison, "Loss over dollars", "spent, all services", "$", loss,
               [](const ComparedPoint& point) { return point.usd.dollars(); });
  out +=
      "</div>\n" + losses_at_budgets(comparison) + time_splits(comparison) + tunings(comparison) + run_list(comparison);
  return html_page("Comparison on " + comparison.data, out);
}

}  // namespace virga
