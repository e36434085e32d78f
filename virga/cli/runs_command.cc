#include <algorithm>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/cli/commands.h"
#include "virga/cli/run_summary.h"
#include "virga/cli/table.h"
#include "virga/driver/run_record.h"

namespace virga {
namespace {

using nlohmann::json;

std::string or_dash(const std::string& text) { return text.empty() ? "-" : text; }

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

int remove(const std::vector<std::string>& which, Session& session) {
  if (which.empty()) throw Error(ErrorKind::kUsage, "no run was named", "virga rm RUN...; virga runs lists them");
  std::vector<Run> found;  // all of them first: a typing error deletes nothing
  found.reserve(which.size());
  for (const auto& name : which) {
    found.push_back(refresh_run(session.home(), find_run(session.home(), name, RunChoice::kOnly)));
  }
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

void add_runs_command(Program& program) {
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
}

void add_remove_command(Program& program) {
  auto doomed = std::make_shared<std::vector<std::string>>();
  auto& rm = program.add(
      "Runs",
      {.name = "rm",
       .arguments = "RUN...",
       .summary = "Deletes runs, their records and models",
       .details = "A run that is still running is refused. Of a run at S3 (--run), what lies there is deleted, too. "
                  "Models that were written elsewhere (--out) stay.",
       .examples = {{"virga rm 20261121-051822-a3f9", "one run"},
                    {"virga rm $(virga runs -q --tag junk)", "all runs with a tag"}}},
      [doomed](Session& session) { return remove(*doomed, session); });
  rm.add_option("RUN", *doomed, "Runs");
}

}  // namespace virga
