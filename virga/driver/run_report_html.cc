#include "virga/driver/run_report_html.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>

#include <fmt/format.h>

#include "virga/base/units.h"
#include "virga/cost/bill.h"
#include "virga/driver/run_report_html_parts.h"
#include "virga/training/metrics.h"

namespace virga {
namespace {

using nlohmann::json;

constexpr std::size_t kMostClasses = 30;
constexpr std::size_t kMostDeaths = 20;

/// A member of a document that may hold anything; null if it is not there.
const json& member(const json& object, const char* name) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(name);
  return found == object.end() ? kNull : *found;
}

std::optional<double> number(const json& object, const char* name) {
  const auto& value = member(object, name);
  if (!value.is_number() || !std::isfinite(value.get<double>())) return std::nullopt;
  return value.get<double>();
}

bool is_share(const std::optional<double>& value) { return value && *value >= 0 && *value <= 1; }

std::string text_of(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  return value.is_null() ? "-" : value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string card(std::string_view name, const std::string& value) {
  return fmt::format("<div><dt>{}</dt><dd>{}</dd></div>\n", escape_html(name), escape_html(value));
}

std::string machines_text(const Ledger& ledger) {
  return fmt::format("{} of type {}", ledger.vms.size(), ledger.vms.front().instance);
}

std::string head(const ReportInput& input, const LedgerSummary& summary) {
  const auto& run = input.run;
  auto state = std::string(to_string(run.state)) + (run.reason.empty() ? "" : ": " + run.reason);
  auto out = fmt::format("<h1>{}</h1>\n<p class=\"soft\">{}</p>\n", escape_html(run.name.empty() ? run.id : run.name),
                         escape_html(fmt::format("run {}, {}, started {}", run.id, state, run.started_at)));
  if (!run.message.empty()) out += fmt::format("<p>{}</p>\n", escape_html(run.message));
  out += "<dl class=\"cards\">\n" + card("model", run.model.empty() ? "-" : run.model) +
         card("data", run.data.empty() ? "-" : run.data);
  if (run.best) {
    const auto& best = run.history[*run.best];
    const char* name = best.validation_loss ? "best validation loss" : "best training loss";
    if (const auto loss = deciding_loss(best)) out += card(name, fmt::format("{:.5g}", *loss));
  }
  if (input.base_loss) out += card("loss of the base rate", fmt::format("{:.5g}", *input.base_loss));
  if (!run.history.empty()) {
    out += card("epochs", std::to_string(run.history.back().epoch)) +
           card("training time", format_seconds(run.history.back().seconds));
  }
  if (summary.all.invocations > 0) {
    out += card(input.usd_kind == UsdKind::kEstimated ? "would cost" : "cost", format_usd(summary.bill.total())) +
           (input.ledger.vms.empty() ? card("functions started", format_count(summary.all.invocations))
                                     : card("virtual machines", machines_text(input.ledger)));
  }
  return out + "</dl>\n";
}

/// The losses over what `x` makes of a point.
Chart chart_of(const ReportInput& input, const std::vector<CurvePoint>& curve,
               const std::function<double(const CurvePoint&)>& x) {
  Chart chart{.lines = {{"training", "train", {}}, {"validation", "validation", {}}},
              .base = input.base_loss,
              .base_name = "base rate"};
  for (const auto& point : curve) {
    const auto at = x(point);
    if (!std::isfinite(at)) continue;
    const auto add = [&](ChartLine& line, const std::optional<double>& loss) {
      if (loss && std::isfinite(*loss)) line.points.emplace_back(at, *loss);
    };
    add(chart.lines[0], point.entry.train_loss);
    add(chart.lines[1], point.entry.validation_loss);
  }
  return chart;
}

std::string losses(const ReportInput& input, const std::vector<CurvePoint>& curve, bool priced) {
  if (curve.empty()) return "<h2>Loss</h2>\n<p class=\"none\">No epoch has been completed.</p>\n";
  const auto draw = [&](const char* title, const char* x_name, const char* unit,
                        const std::function<double(const CurvePoint&)>& x) {
    auto chart = chart_of(input, curve, x);
    chart.title = title;
    chart.x_name = x_name;
    chart.x_unit = unit;
    return line_chart(chart);
  };
  std::string out = "<h2>Loss</h2>\n<div class=\"charts\">\n";
  out += draw("Loss over time", "time of training", " s", [](const CurvePoint& point) { return point.entry.seconds; });
  out += draw("Loss over epochs", "epochs", "", [](const CurvePoint& point) { return double{1} * point.entry.epoch; });
  if (priced) {
    out += draw("Loss over dollars", "spent, all services", "$",
                [](const CurvePoint& point) { return point.usd.dollars(); });
  }
  return out + "</div>\n";
}

std::string time_split(const ReportInput& input, const LedgerSummary& summary) {
  std::vector<Share> shares;
  for (std::size_t i = 0; i < kTimeGroups; ++i) {
    const auto name = std::string(to_string(static_cast<TimeGroup>(i)));
    shares.push_back({name, name, summary.all.groups[i]});
  }
  auto out =
      "<h2>Where the time went</h2>\n<p class=\"soft\">Of all functions together, as they said themselves.</p>\n" +
      share_bar(shares);
  if (!(input.wall_seconds > 0)) return out;
  const auto account = account_wall_time(input.ledger.invocations, input.driver, input.wall_seconds);
  shares.clear();
  for (std::size_t i = 0; i < kTimeGroups; ++i) {
    const auto name = std::string(to_string(static_cast<TimeGroup>(i)));
    shares.push_back({name, name, account.groups[i]});
  }
  shares.push_back({"driver", "driver", account.driver_seconds});
  shares.push_back({"lost", "lost", account.lost_seconds});
  shares.push_back({"platform", "rest", account.platform_seconds});
  shares.push_back({"not accounted for", "unknown", account.unaccounted_seconds});
  return out +
         fmt::format(
             "<p class=\"soft\">Of the run from its beginning to its end ({}), along its critical path; "
             "{:.1f} % of it is accounted for.</p>\n",
             escape_html(format_seconds(account.wall_seconds)), 100 * account.accounted_share()) +
         share_bar(shares);
}

std::string costs(const ReportInput& input, const LedgerSummary& summary) {
  const auto& table = input.table;
  const auto total = summary.bill.total();
  const auto sentence = input.usd_kind == UsdKind::kEstimated
                            ? "The run " + would_cost(summary.bill, table)
                            : fmt::format("The run cost {} on {}, reckoned with prices of {}", format_usd(total),
                                          platform_of(summary.bill, table), table.date);
  auto out = fmt::format("<h2>Cost</h2>\n<p>{}.</p>\n", escape_html(sentence));
  std::vector<std::vector<std::string>> rows;
  for (const auto& charge : summary.bill.charges()) {
    const auto share = total > Usd() ? 100 * charge.usd.dollars() / total.dollars() : 0.0;
    rows.push_back({charge.service, charge.item, fmt::format("{:.5g}", charge.amount), format_usd(charge.usd),
                    fmt::format("{:.1f} %", share)});
  }
  out += html_table({"service", "item", "amount", "dollars", "share"}, rows);
  if (summary.all.without_answer > 0) {
    out +=
        fmt::format("<p>{} of {} invocations gave no answer; {} were paid for them.</p>\n", summary.all.without_answer,
                    summary.all.invocations, escape_html(format_usd(summary.all.lost_usd)));
  }
  if (summary.memory) out += fmt::format("<p>{}</p>\n", escape_html(memory_advice_text(*summary.memory, table)));
  return out + fmt::format("<p class=\"soft\">Prices: {}</p>\n", escape_html(table.source));
}

std::string machines_of(const ReportInput& input, const LedgerSummary& summary) {
  if (input.ledger.vms.empty()) return {};
  std::vector<std::vector<std::string>> rows;
  for (const auto& [worker, sums] : summary.by_worker) {
    if (rows.size() == 200) break;
    rows.push_back({fmt::format("worker {}", worker), format_seconds(sums.vm_startup_seconds),
                    format_seconds(sums.vm_seconds), format_usd(sums.vm_usd)});
  }
  return "<h3>Virtual machines</h3>\n" + html_table({"", "start-up", "VM-seconds after it", "dollars"}, rows) +
         fmt::format(
             "<p class=\"soft\">The start-up is reckoned, and billed from the request on; nobody waited for it "
             "here. It is that of {}: {} {}</p>\n",
             escape_html(input.table.startup.name), escape_html(input.table.startup.source),
             escape_html(input.table.instances.source));
}

std::string by_worker(const LedgerSummary& summary) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& [worker, sums] : summary.by_worker) {
    if (rows.size() == 200) break;
    rows.push_back({fmt::format("worker {}", worker), format_count(sums.invocations), format_count(sums.without_answer),
                    format_count(sums.rounds), format_seconds(sums.paid_seconds),
                    fmt::format("{:.4g}", sums.gb_seconds), format_seconds(sums.cpu_seconds),
                    format_bytes(sums.peak_memory_bytes), format_bytes(sums.bytes_put),
                    format_usd(sums.usd + sums.vm_usd)});
  }
  return "<details><summary>By worker</summary>\n" +
         html_table({"", "invocations", "no answer", "rounds", "billed", "GB-seconds", "CPU", "peak memory", "sent",
                     "dollars"},
                    rows) +
         "</details>\n";
}

std::string deaths(const Ledger& ledger) {
  std::string out;
  std::size_t count = 0;
  for (const auto& record : ledger.invocations) {
    if (gave_answer(record) && record.end != "error") continue;
    if (record.end == "throttled" || ++count > kMostDeaths) continue;
    const auto who = record.task == "worker" ? fmt::format("Worker {}, generation {}", record.worker, record.generation)
                                             : fmt::format("Evaluation of epoch {}", record.epoch);
    out += fmt::format("<p>{}</p>\n",
                       escape_html(fmt::format("{}, after {}: {}", who, format_seconds(record.seconds), record.end)));
    if (!record.said.empty()) out += fmt::format("<pre>{}</pre>\n", escape_html(record.said));
  }
  if (count == 0) return {};
  if (count > kMostDeaths) out += fmt::format("<p>And {} more.</p>\n", count - kMostDeaths);
  return "<h2>What went wrong</h2>\n" + out;
}

std::vector<std::string> class_names(const json& test) {
  std::vector<std::string> names;
  for (const auto& one : member(test, "classes")) names.push_back(text_of(member(one, "class")));
  return names;
}

/// The matrix, if it is one of numbers with a row and a column for each class.
std::optional<std::vector<std::vector<double>>> matrix_of(const json& test, std::size_t classes) {
  const auto& rows = member(test, "confusion_matrix");
  if (!rows.is_array() || rows.size() != classes) return std::nullopt;
  std::vector<std::vector<double>> matrix;
  for (const auto& row : rows) {
    if (!row.is_array() || row.size() != classes) return std::nullopt;
    matrix.emplace_back();
    for (const auto& cell : row) {
      if (!cell.is_number() || !(cell.get<double>() >= 0 && cell.get<double>() < 1e300)) return std::nullopt;
      matrix.back().push_back(cell.get<double>());
    }
  }
  return matrix;
}

std::string confusion_table(const std::vector<std::string>& names, const std::vector<std::vector<double>>& matrix) {
  std::string out =
      "<p class=\"soft\">Labels (down) and what they were taken for (across); colour is the share of the label.</p>\n"
      "<div class=\"scroll\"><table class=\"matrix\">\n<tr><th></th>";
  for (const auto& name : names) out += fmt::format("<th>{}</th>", escape_html(name));
  out += "</tr>\n";
  for (std::size_t row = 0; row < names.size(); ++row) {
    double sum = 0;
    for (const auto weight : matrix[row]) sum += weight;
    out += fmt::format("<tr><th>{}</th>", escape_html(names[row]));
    for (const auto weight : matrix[row]) {
      out += fmt::format("<td style=\"--share:{:.3f}\">{:.6g}</td>", sum > 0 ? weight / sum : 0.0, weight);
    }
    out += "</tr>\n";
  }
  return out + "</table></div>\n";
}

std::string largest_confusions(const json& test) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& one : member(test, "largest_confusions")) {
    if (rows.size() == kMostDeaths) break;
    rows.push_back({text_of(member(one, "class")), text_of(member(one, "predicted")), text_of(member(one, "weight"))});
  }
  return rows.empty() ? "" : html_table({"class", "taken for", "rows"}, rows);
}

/// Predicted probabilities against what came true, if there are any.
std::string calibration(const json& evaluation) {
  const auto& bins = member(evaluation, "calibration");
  if (!bins.is_array() || bins.size() != kCalibrationBins) return {};
  Chart chart{.title = "Calibration",
              .x_name = "predicted probability, mean of a tenth",
              .x_unit = "",
              .lines = {{"calibrated", "train", {{0, 0}, {1, 1}}}, {"observed share", "validation", {}}}};
  std::vector<std::vector<std::string>> rows;
  for (std::size_t i = 0; i < bins.size(); ++i) {
    const auto weight = number(bins[i], "weight");
    const auto predicted = number(bins[i], "predicted");
    const auto observed = number(bins[i], "observed");
    if (!weight || !(*weight > 0) || !is_share(predicted) || !is_share(observed)) continue;
    auto& points = chart.lines[1].points;
    if (points.empty() || points.back().first < *predicted) points.emplace_back(*predicted, *observed);
    rows.push_back({fmt::format("{:.1f} to {:.1f}", 0.1 * static_cast<double>(i), 0.1 * static_cast<double>(i + 1)),
                    fmt::format("{:.6g}", *weight), fmt::format("{:.4f}", *predicted),
                    fmt::format("{:.4f}", *observed)});
  }
  if (rows.empty()) return {};
  return "<p class=\"soft\">Of the rows that were given a probability of the second class, how many are of it.</p>\n"
         "<div class=\"charts\">\n" +
         line_chart(chart) + "</div>\n" + html_table({"probability", "rows", "predicted", "observed"}, rows);
}

/// `test`: an evaluation_json(). `title`: on which data.
std::string results_on(std::string_view title, const json& test) {
  if (!test.is_object()) return {};
  std::vector<std::vector<std::string>> rows;
  for (const char* name : {"rows", "loss", "base_loss", "accuracy", "auc", "average_precision", "macro_f1", "rmse",
                           "base_rmse", "mae", "r2"}) {
    if (const auto value = number(test, name)) rows.push_back({name, fmt::format("{:.6g}", *value)});
  }
  auto out = fmt::format("<h2>{}</h2>\n", title) + html_table({"metric", "value"}, rows) + calibration(test);
  const auto names = class_names(test);
  if (names.empty()) return out;
  const auto matrix = names.size() <= kMostClasses ? matrix_of(test, names.size()) : std::nullopt;
  return out + (matrix ? confusion_table(names, *matrix) : largest_confusions(test));
}

std::string settings(const json& config) {
  std::vector<std::vector<std::string>> rows;
  const auto add = [&](const std::string& name, const json& setting) {
    const auto& source = member(setting, "source");
    if (!source.is_string() || rows.size() > 500) return;
    rows.push_back({name, text_of(member(setting, "value")), source.get<std::string>()});
  };
  const auto& sections = member(config, "settings");
  if (sections.is_object()) {
    for (const auto& [section, values] : sections.items()) {
      add(section, values);
      if (!values.is_object()) continue;
      for (const auto& [key, setting] : values.items()) add(section + "." + key, setting);
    }
  }
  const auto& resolved = member(config, "resolved");
  if (resolved.is_object()) {
    for (const auto& [name, value] : resolved.items()) rows.push_back({name, text_of(value), "found by the run"});
  }
  if (rows.empty()) return {};
  return "<h2>Settings</h2>\n<details><summary>All settings of the job</summary>\n" +
         html_table({"setting", "value", "from"}, rows) + "</details>\n";
}

}  // namespace

std::vector<CurvePoint> cost_curve(const std::vector<HistoryEntry>& history, const Ledger& ledger,
                                   const PriceTable& table, double training_start_seconds) {
  const Spending spending(ledger, table);
  std::vector<CurvePoint> curve;
  for (const auto& entry : history) {
    curve.push_back({entry, spending.until(training_start_seconds + entry.seconds)});
  }
  return curve;
}

std::string report_html(const ReportInput& input) {
  const auto summary = summarise(input.ledger, input.table);
  const auto curve = cost_curve(input.run.history, input.ledger, input.table, input.training_start_seconds);
  const bool functions = !input.ledger.invocations.empty();
  auto out = head(input, summary) + losses(input, curve, functions);
  if (functions) {
    out +=
        "<h2>Workers</h2>\n<p class=\"soft\">A bar is one invocation from its beginning to its end; its colours are "
        "shares "
        "of its time, not moments of it.</p>\n" +
        worker_timeline(input.ledger.invocations, input.wall_seconds) + by_worker(summary) +
        time_split(input, summary) + costs(input, summary) + machines_of(input, summary) + deaths(input.ledger);
  }
  return html_page(input.run.name.empty() ? input.run.id : input.run.name,
                   out + results_on("On the test data", input.test) +
                       results_on("On the validation data", input.validation) + settings(input.config));
}

}  // namespace virga
