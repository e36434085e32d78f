// virga show: everything that a run's record holds, for people, as JSON or as a page.
#include <algorithm>
#include <cmath>
#include <memory>

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/base/units.h"
#include "virga/cli/commands.h"
#include "virga/cli/curve_plots.h"
#include "virga/cli/output.h"
#include "virga/cli/run_cost.h"
#include "virga/cli/run_summary.h"
#include "virga/cli/table.h"
#include "virga/driver/functions_report.h"

namespace virga {
namespace {

using nlohmann::json;

struct Show {
  std::string which = "last";
  std::string html;    // file; empty: none
  std::string prices;  // other ones than the run's own; empty: none
};

json or_null(const std::optional<double>& number) { return number ? json(*number) : json(nullptr); }
json or_null(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

std::string history_table(const Run& run) {
  Table table({{"EPOCH", true},
               {"TRAIN LOSS", true},
               {"VALIDATION LOSS", true},
               {"LEARNING RATE", true},
               {"EXAMPLES", true},
               {"TIME", true},
               {""}});
  for (std::size_t i = 0; i < run.history.size(); ++i) {
    const auto& entry = run.history[i];
    const auto rate = entry.learning_rate ? fmt::format("{:.4g}", *entry.learning_rate) : std::string("-");
    const auto time =
        format_duration(std::chrono::nanoseconds(std::llround(std::clamp(entry.seconds, 0.0, 9e9) * 1e9)));
    table.add({std::to_string(entry.epoch), loss_text(entry.train_loss), loss_text(entry.validation_loss), rate,
               format_count(entry.examples), time, run.best == i ? "best" : ""});
  }
  return table.text();
}

/// The losses over time and, of a run on functions, over dollars.
std::string history_plots(const Run& run, const std::optional<RunCost>& cost, const Session& session) {
  const auto curve = cost ? cost_curve(run.history, cost->ledger, cost->prices, cost->training_start_seconds)
                          : cost_curve(run.history, {}, {}, 0);
  return curve_plots(curve, std::min(terminal_width(STDOUT_FILENO), 100U), 12, session.unicode(STDOUT_FILENO));
}

std::string header_text(const Run& run) {
  auto text = fmt::format("Run {}{}\n", run.id, run.name.empty() ? "" : fmt::format(" ({})", run.name));
  const auto line = [&](const char* name, const std::string& value) {
    if (!value.empty()) text += fmt::format("  {:<10}{}\n", name, value);
  };
  line("state", fmt::format("{}{}", to_string(run.state), run.reason.empty() ? "" : ": " + run.reason));
  line("message", run.message);
  line("data", run.data);
  line("model", run.model);
  line("tags", fmt::format("{}", fmt::join(run.tags, ", ")));
  line("started", run.started_at);
  line("lies at", run.uri);
  line("folder", run.folder.string());
  return text;
}

/// The figures of test.json, or validation.json, that are numbers.
std::string test_lines(std::string_view title, const json& test) {
  auto text = fmt::format("\n{}:\n", title);
  for (const char* name : {"rows", "loss", "base_loss", "accuracy", "auc", "average_precision", "macro_f1", "rmse",
                           "base_rmse", "mae", "r2"}) {
    const auto found = test.find(name);
    if (found == test.end() || !found->is_number()) continue;
    text += fmt::format("  {:<18}{:.6g}\n", name, found->get<double>());
  }
  return text;
}

/// What functions took: invocations, memory, time, dollars.
std::string functions_text(const json& said, const RunCost& cost) {
  const auto& all = cost.summary.all;
  const bool on_vms = !cost.ledger.vms.empty();
  std::string text = on_vms ? "\nVirtual machines:\n" : "\nFunctions:\n";
  const auto line = [&](const char* name, const std::string& value) {
    if (!value.empty()) text += fmt::format("  {:<13}{}\n", name, value);
  };
  std::uint64_t again = 0;
  for (const auto& record : cost.ledger.invocations) {
    if (record.task == "worker" && !gave_answer(record) && record.end != "throttled") ++again;
  }
  line("invocations",
       fmt::format("{}, {} of them workers that died{}", format_count(all.invocations), format_count(again),
                   all.throttled > 0 ? fmt::format(", {} throttled", format_count(all.throttled)) : ""));
  if (!cost.ledger.invocations.empty()) {
    line("memory", fmt::format("at most {:.0f} MB of {:.0f} MB", static_cast<double>(all.peak_memory_bytes) / 1e6,
                               static_cast<double>(cost.ledger.invocations.front().memory_bytes) / 1e6));
  }
  const auto workers = cost.summary.by_task.find("worker");
  if (workers != cost.summary.by_task.end() && workers->second.invocations > 0) {
    const auto& sums = workers->second;
    line("rounds", fmt::format("{} of all workers, {:.1f} an invocation", format_count(sums.rounds),
                               static_cast<double>(sums.rounds) / static_cast<double>(sums.invocations)));
  }
  if (on_vms) {
    line("machines", fmt::format("{} of type {}", cost.ledger.vms.size(), cost.ledger.vms.front().instance));
    line("VM-seconds",
         fmt::format("{}, and {} of start-up ({}: reckoned, not waited for; not verified)",
                     format_seconds(all.vm_seconds), format_seconds(all.vm_startup_seconds), cost.prices.startup.name));
  }
  line("sent", fmt::format("{} in {} messages", format_bytes(all.bytes_put), format_count(all.messages_put)));
  line("time split", shares_text(all.groups));
  line("staleness", parse_functions_record(said).staleness);
  line("wall time", cost.wall_text);
  if (said.is_object()) {
    if (const auto box = said.find("sandbox"); box != said.end() && box->is_string()) line("limits", *box);
  }
  const auto width = is_terminal(STDOUT_FILENO) ? terminal_width(STDOUT_FILENO) : std::string::npos;
  text += cost_tables(cost.summary, cost.prices, width);
  if (cost.summary.memory) {
    const auto columns = std::min(terminal_width(STDOUT_FILENO), 100U);
    text += "\n" + wrap(memory_line(*cost.summary.memory, cost.prices), columns, 2) + "\n";
  }
  return text;
}

json document_of(const Run& run, const json& config, const std::optional<RunCost>& cost) {
  auto document = run_summary(run);
  auto history = json::array();
  for (const auto& entry : run.history) {
    history.push_back({{"epoch", entry.epoch},
                       {"round", entry.round},
                       {"train_loss", or_null(entry.train_loss)},
                       {"validation_loss", or_null(entry.validation_loss)},
                       {"learning_rate", or_null(entry.learning_rate)},
                       {"examples", entry.examples},
                       {"elapsed_seconds", entry.seconds}});
    if (entry.updates > 0) {
      history.back()["updates"] = entry.updates;
      history.back()["lost_updates"] = entry.lost_updates;
    }
  }
  if (cost) {
    const auto curve = cost_curve(run.history, cost->ledger, cost->prices, cost->training_start_seconds);
    for (std::size_t i = 0; i < curve.size(); ++i) history[i]["usd"] = curve[i].usd.dollars();
  }
  document["history"] = std::move(history);
  document["message"] = or_null(run.message);
  document["settings"] = config.value("settings", json::object());
  document["test"] = read_run_test(run);
  document["validation"] = read_run_validation(run);
  document["functions"] = read_run_functions(run);
  document["cost"] = cost ? summary_json(cost->summary, cost->prices, UsdKind::kEstimated) : json(nullptr);
  document["resolved"] = config.value("resolved", json::object());
  return document;
}

std::string text_of(const Run& run, const json& config, const std::optional<RunCost>& cost, const Session& session) {
  auto text = header_text(run);
  const auto resolved = config.value("resolved", json::object());
  for (const auto& [name, value] : resolved.items()) {
    if (value.is_object()) continue;  // what a probe measured: --json and --html have it
    text += fmt::format("  {} = {}\n", name, value.is_string() ? value.get<std::string>() : value.dump());
  }
  if (const auto test = read_run_test(run); !test.is_null()) text += test_lines("On the test data", test);
  if (const auto data = read_run_validation(run); !data.is_null()) text += test_lines("On the validation data", data);
  if (cost) text += functions_text(read_run_functions(run), *cost);
  if (run.history.empty()) return text + "\nNo epoch has been completed.\n";
  return text + "\n" + history_table(run) + history_plots(run, cost, session);
}

void write_page(const Run& run, const json& config, std::optional<RunCost> cost, const std::string& file) {
  ReportInput input{.run = run,
                    .config = config,
                    .test = read_run_test(run),
                    .validation = read_run_validation(run),
                    .ledger = {},
                    .table = {},
                    .driver = {},
                    .base_loss = {}};
  const json::json_pointer base("/resolved/model.base_loss");
  if (config.contains(base) && config[base].is_number()) input.base_loss = config[base].get<double>();
  if (cost) {
    input.ledger = std::move(cost->ledger);
    input.table = std::move(cost->prices);
    input.training_start_seconds = cost->training_start_seconds;
    input.wall_seconds = cost->wall_seconds;
    input.driver = std::move(cost->driver);
  }
  const auto page = report_html(input);
  write_file_atomically(file, as_bytes(page));
}

int show(const Show& what, Session& session) {
  const auto run = find_run(session.home(), what.which, RunChoice::kNewest);
  if (run.state == RunState::kDamaged) {
    throw Error(ErrorKind::kCorrupt, fmt::format("run {}: {}", run.id, run.reason),
                fmt::format("virga rm {} deletes it", run.id));
  }
  const auto config = read_run_config(run);
  std::optional<PriceTable> others;
  if (!what.prices.empty()) others = find_price_table(what.prices);
  const auto cost = read_run_cost(run, others);
  if (!what.html.empty()) {
    write_page(run, config, cost, what.html);
    if (!session.json()) session.note("wrote " + what.html);
  }
  if (session.json()) {
    session.print_json({{"run", document_of(run, config, cost)}});
  } else if (what.html.empty()) {
    session.print(text_of(run, config, cost, session));
  }
  return 0;
}

}  // namespace

void add_show_command(Program& program) {
  auto what = std::make_shared<Show>();
  auto& app = program.add(
      "Runs",
      {.name = "show",
       .arguments = "[RUN]",
       .summary = "Shows a run: its options, losses, functions and cost",
       .details =
           "RUN is an id, the beginning of one, a name (of several runs with it, the newest), the s3:// URI of a run "
           "that lies there, or last, which is also what no RUN means. The losses are plotted over time and, of a run "
           "on functions, over the "
           "dollars that it would have cost: by the prices that it was started with, or, with --prices, by others. "
           "--html writes the same, and the functions' timeline, as one page "
           "that needs nothing else.",
       .examples = {{"virga show last", "the newest run"},
                    {"virga show last --html report.html", "a page for a browser"},
                    {"virga show last --prices ibm-2021", "what would it have cost there?"},
                    {"virga show first-try --json", "everything that its record holds"}}},
      [what](Session& session) { return show(*what, session); });
  app.add_option("RUN", what->which, "Run");
  app.add_option("--html", what->html, "Write a self-contained page to this file")->type_name("FILE");
  app.add_option("--prices", what->prices, "Reckon dollars by this price table in place of the run's own")
      ->type_name("NAME|FILE");
}

}  // namespace virga
