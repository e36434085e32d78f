#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/cli/commands.h"
#include "virga/cli/job_flags.h"
#include "virga/cli/output.h"
#include "virga/cli/table.h"
#include "virga/job/job_docs.h"

namespace virga {
namespace {

struct Show {
  std::string job;
  JobFlags flags;
};

int show(const Show& show, Session& session) {
  const auto settings = load_settings(session, show.job, show.flags.settings());
  std::vector<std::string> warnings;
  static_cast<void>(make_job(settings, warnings));  // refuses what cannot be
  for (const auto& warning : warnings) session.warn(warning);
  if (session.json()) return session.print_json({{"settings", settings_json(settings)}}), 0;
  Table table({{"OPTION"}, {"VALUE"}, {"SOURCE"}});
  for (const auto& setting : settings.all()) {
    const auto text = value_text(*setting.option, setting.value);
    const auto source = setting.source == Source::kDefault ? "default" : setting.origin;
    table.add({option_name(*setting.option), text.empty() ? "-" : text, source});
  }
  session.print(table.text());
  return 0;
}

}  // namespace

void add_config_commands(Program& program) {
  program.add(
      "Setting up",
      {.name = "config",
       .summary = "Shows what a job's options are, and where each value comes from",
       .details = "Options stand in a job file, in $VIRGA_HOME/config.toml, in VIRGA_* variables and in flags; a flag "
                  "counts before a variable, that before the job file, that before config.toml."},
      nullptr);
  auto state = std::make_shared<Show>();
  auto& app = program.add(
      "",
      {.name = "config show",
       .arguments = "[JOB.toml]",
       .summary = "Prints every option of a job with its value and its source",
       .details = "Takes the flags of `virga train`, and shows what they would do.",
       .examples = {{"virga config show job.toml", "file and line, variable, flag or default of every value"},
                    {"virga config show job.toml --epochs 5 --json", "the same for programs"}}},
      [state](Session& session) { return show(*state, session); });
  app.add_option("JOB", state->job, "Job file");
  program.declare_when_needed(app, [state, &app] { state->flags.declare(app); });
  program.add("",
              {.name = "config docs",
               .summary = "Prints the manual of the job file (Markdown)",
               .examples = {{"virga config docs | less", "all options, their defaults, flags and variables"}}},
              [](Session& session) { return session.print(job_docs_page()), 0; });
  program.add("",
              {.name = "config schema",
               .summary = "Prints the JSON Schema of the job file, for editors",
               .examples = {{"virga config schema > job.schema.json",
                             "editors that check TOML by a schema complete and check job files with it"}}},
              [](Session& session) { return session.print(job_schema().dump(2) + "\n"), 0; });
}

}  // namespace virga
