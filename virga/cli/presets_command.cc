#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "virga/cli/commands.h"
#include "virga/cli/table.h"
#include "virga/job/presets.h"

namespace virga {
namespace {

nlohmann::json preset_json(const Preset& preset) {
  return {{"name", preset.name}, {"help", preset.help}, {"text", preset.text}};
}

int show_presets(const std::string& name, Session& session) {
  if (!name.empty()) {
    const auto preset = find_preset(name);
    session.json() ? session.print_json(preset_json(preset)) : session.print(preset.text);
    return 0;
  }
  auto list = nlohmann::json::array();
  Table table({{"NAME"}, {"WHAT IT IS"}});
  for (const auto& preset : presets()) {
    list.push_back(preset_json(preset));
    table.add({preset.name, preset.help});
  }
  session.json() ? session.print_json({{"presets", std::move(list)}}) : session.print(table.text());
  return 0;
}

}  // namespace

void add_presets_command(Program& program) {
  auto name = std::make_shared<std::string>();
  auto& app = program.add(
      "Models",
      {.name = "presets",
       .arguments = "[NAME]",
       .summary = "Lists the presets of compare, or prints one, to copy and change",
       .details = "A preset is a job file: what stands in it is decided, all else is as the job says. [tune.SECTION] "
                  "holds arrays of values that virga compare --tune-each tries.",
       .examples = {{"virga presets", "what there is"},
                    {"virga presets lambdaml-s3 > mine.toml", "a copy, for virga compare --presets single,mine.toml"}}},
      [name](Session& session) { return show_presets(*name, session); });
  app.add_option("NAME", *name, "Which to print");
}

}  // namespace virga
