#include <algorithm>
#include <cmath>
#include <memory>

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/phase_clock.h"
#include "virga/base/units.h"
#include "virga/cli/commands.h"
#include "virga/cli/output.h"
#include "virga/cli/plot.h"
#include "virga/cli/table.h"
#include "virga/driver/run_record.h"

namespace virga {
namespace {

using nlohmann::json;

std::string or_dash(const std::string& text) { return text.empty() ? "-" : text; }

std::string loss_text(const std::optional<double>& loss) { return loss ? fmt::format("{:.5f}", *loss) : "-"; }

std::optional<double> best_loss(const Run& run) {
  if (!run.best) return std::nullopt;
  return deciding_loss(run.history[*run.best]);
}

json or_null(const std::optional<double>& number) { return number ? json(*number) : json(nullptr); }
json or_null(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

json run_summary(const Run& run) {
  return {{"id", run.id},
          {"name", or_null(run.name)},
          {"tags", run.tags},
          {"state", to_string(run.state)},
          {"reason", or_null(run.reason)},
          {"exit_code", run.exit_code ? json(*run.exit_code) : json(nullptr)},
          {"data", or_null(run.data)},
          {"model", or_null(run.model)},
          {"started_at", or_null(run.started_at)},
          {"epochs", run.history.empty() ? 0 : run.history.back().epoch},
          {"best_loss", or_null(best_loss(run))},
          {"folder", run.folder.string()}};
}

int runs(const std::vector<std::string>& tags, Session& session) {
  auto all = list_runs(session.home());
  std::erase_if(all, [&](const Run& run) {
    return std::ranges::any_of(tags,
                               [&](const auto& tag) { return std::ranges::find(run.tags, tag) == run.tags.end(); });
  });
  if (session.json()) {
    auto list = json::array();
    for (const auto& run : all) list.push_back(run_summary(run));
    return session.print_json({{"runs", std::move(list)}}), 0;
  }
  if (session.quiet()) {
    for (const auto& run : all) session.print(run.id + "\n");
    return 0;
  }
  if (all.empty()) return session.note("No runs yet. Start one: virga train DATA"), 0;
  Table table(
      {{"ID"}, {"NAME"}, {"STATE"}, {"DATA"}, {"MODEL"}, {"EPOCHS", true}, {"BEST LOSS", true}, {"STARTED (UTC)"}});
  for (const auto& run : all) {
    const auto state =
        run.state == RunState::kFinished ? fmt::format("finished ({})", run.reason) : std::string(to_string(run.state));
    auto started = run.started_at.substr(0, 16);
    if (started.size() == 16) started[10] = ' ';
    table.add({run.id, or_dash(run.name), state, or_dash(std::filesystem::path(run.data).filename().string()),
               or_dash(run.model), std::to_string(run.history.empty() ? 0 : run.history.back().epoch),
               loss_text(best_loss(run)), or_dash(started)});
  }
  session.print(table.text());
  return 0;
}

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

std::string history_plot(const Run& run, const Session& session) {
  Series train{.name = "training loss", .mark = 'o'};
  Series validation{.name = "validation loss", .mark = '*'};
  for (const auto& entry : run.history) {
    train.values.push_back(entry.train_loss);
    validation.values.push_back(entry.validation_loss);
  }
  return plot({train, validation}, std::min(terminal_width(STDOUT_FILENO), 100U), 12, "epoch",
              session.unicode(STDOUT_FILENO));
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
  line("folder", run.folder.string());
  return text;
}

/// The figures of test.json that are numbers.
std::string test_lines(const json& test) {
  std::string text = "\nOn the test data:\n";
  for (const char* name : {"rows", "loss", "base_loss", "accuracy", "auc", "average_precision", "macro_f1", "rmse",
                           "base_rmse", "mae", "r2"}) {
    const auto found = test.find(name);
    if (found == test.end() || !found->is_number()) continue;
    text += fmt::format("  {:<18}{:.6g}\n", name, found->get<double>());
  }
  return text;
}

/// What functions.json says of the time and the traffic of the functions.
std::string functions_lines(const json& functions) {
  const auto number = [&](const char* name) { return functions.value(name, 0.0); };
  auto text = fmt::format(
      "\nFunctions: {} invocations of {:.1f} s in all, CPU {:.1f} s, at most {} of memory each\n"
      "  {} in {} messages were sent\n  workers' time:",
      number("invocations"), number("invocation_seconds"), number("cpu_seconds"),
      format_bytes(functions.value("peak_memory_bytes", std::uint64_t{0})),
      format_bytes(functions.value("bytes_put", std::uint64_t{0})), number("messages_put"));
  const auto phases = functions.value("phase_seconds", json::object());
  double total = 0;
  for (const auto& seconds : phases) total += seconds.get<double>();
  for (std::size_t i = 0; i < kWorkPhases; ++i) {
    const auto word = to_string(static_cast<WorkPhase>(i));
    const auto share = 100 * phases.value(word, 0.0) / std::max(total, 1e-9);
    if (share >= 0.5) text += fmt::format(" {} {:.0f} %", word, share);
  }
  return text + "\n";
}

int show(const std::string& which, Session& session) {
  const auto run = find_run(session.home(), which, RunChoice::kNewest);
  if (run.state == RunState::kDamaged) {
    throw Error(ErrorKind::kCorrupt, fmt::format("run {}: {}", run.id, run.reason),
                fmt::format("virga rm {} deletes it", run.id));
  }
  const auto config = read_run_config(run);
  if (session.json()) {
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
    }
    document["history"] = std::move(history);
    document["message"] = or_null(run.message);
    document["settings"] = config.value("settings", json::object());
    document["test"] = read_run_test(run);
    document["functions"] = read_run_functions(run);
    document["resolved"] = config.value("resolved", json::object());
    return session.print_json({{"run", std::move(document)}}), 0;
  }
  auto text = header_text(run);
  const auto resolved = config.value("resolved", json::object());
  for (const auto& [name, value] : resolved.items()) {
    text += fmt::format("  {} = {}\n", name, value.is_string() ? value.get<std::string>() : value.dump());
  }
  if (const auto test = read_run_test(run); !test.is_null()) text += test_lines(test);
  if (const auto functions = read_run_functions(run); !functions.is_null()) text += functions_lines(functions);
  if (run.history.empty()) {
    text += "\nNo epoch has been completed.\n";
  } else {
    text += "\n" + history_table(run);
    if (const auto drawn = history_plot(run, session); !drawn.empty()) text += "\n" + drawn;
  }
  session.print(text);
  return 0;
}

int remove(const std::vector<std::string>& which, Session& session) {
  if (which.empty()) throw Error(ErrorKind::kUsage, "no run was named", "virga rm RUN...; virga runs lists them");
  std::vector<Run> found;  // all of them first: a typing error deletes nothing
  found.reserve(which.size());
  for (const auto& name : which) found.push_back(find_run(session.home(), name, RunChoice::kOnly));
  auto removed = json::array();
  for (const auto& run : found) {
    remove_run(run);
    removed.push_back(run.id);
    if (!session.json()) session.note("removed " + run.id);
  }
  if (session.json()) session.print_json({{"removed", std::move(removed)}});
  return 0;
}

}  // namespace

void add_runs_commands(Program& program) {
  auto tags = std::make_shared<std::vector<std::string>>();
  auto& list = program.add("Runs",
                           {.name = "runs",
                            .summary = "Lists the runs so far",
                            .details = "Runs lie in $VIRGA_HOME/runs (~/.virga/runs).",
                            .examples = {{"virga runs", "a table, the newest last"},
                                         {"virga runs --tag baseline -q", "only the ids of those with a tag"}}},
                           [tags](Session& session) { return runs(*tags, session); });
  list.add_option("--tag", *tags, "Only runs with this tag; may be repeated")
      ->type_name("TAG")
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);

  auto which = std::make_shared<std::string>("last");
  auto& one =
      program.add("Runs",
                  {.name = "show",
                   .arguments = "[RUN]",
                   .summary = "Shows a run: its options, a table and a plot of its losses",
                   .details = "RUN is an id, the beginning of one, a name (of several runs with it, the newest), or "
                              "last, which is also what no RUN means.",
                   .examples = {{"virga show last", "the newest run"},
                                {"virga show first-try --json", "everything that its record holds"}}},
                  [which](Session& session) { return show(*which, session); });
  one.add_option("RUN", *which, "Run");

  auto doomed = std::make_shared<std::vector<std::string>>();
  auto& rm = program.add(
      "Runs",
      {.name = "rm",
       .arguments = "RUN...",
       .summary = "Deletes runs, their records and models",
       .details = "A run that is still running is refused. Models that were written elsewhere (--out) stay.",
       .examples = {{"virga rm 20261121-051822-a3f9", "one run"},
                    {"virga rm $(virga runs -q --tag junk)", "all runs with a tag"}}},
      [doomed](Session& session) { return remove(*doomed, session); });
  rm.add_option("RUN", *doomed, "Runs");
}

}  // namespace virga
