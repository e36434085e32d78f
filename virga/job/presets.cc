#include "virga/job/presets.h"

#include <algorithm>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "virga/base/error.h"
#include "virga/base/units.h"

namespace virga {

std::span<const Preset> presets() {
  static const std::vector<Preset> all = {
      {.name = "single",
       .help = "all cores of this machine, one process, no functions",
       .values = {{"functions.engine", "single"}, {"functions.workers", "auto"}}},
      {.name = "functions-ps",
       .help = "functions that exchange through a data store of the run (virga-ps)",
       .values = {{"functions.engine", "local"}, {"exchange.channel", "ps"}}},
      {.name = "functions-directory",
       .help = "functions that exchange through files of a folder",
       .values = {{"functions.engine", "local"}, {"exchange.channel", "directory"}}},
  };
  return all;
}

const Preset& find_preset(std::string_view name) {
  const auto found = std::ranges::find(presets(), name, &Preset::name);
  if (found != presets().end()) return *found;
  std::vector<std::string> names;
  for (const auto& preset : presets()) names.emplace_back(preset.name);
  const auto near = nearest_word(name, names);
  throw Error(ErrorKind::kUsage, fmt::format("there is no preset '{}'", name),
              near.empty() ? fmt::format("those that there are: {}", fmt::join(names, ", "))
                           : fmt::format("did you mean {}?", near));
}

std::vector<Setting> settings_of(const Preset& preset) {
  std::vector<Setting> settings;
  const auto origin = fmt::format("preset {}", preset.name);
  for (const auto& [name, text] : preset.values) {
    const auto dot = name.find('.');
    const auto* option = find_option(name.substr(0, dot), name.substr(dot + 1));
    check(option != nullptr, "presets decide about options that there are");
    settings.push_back(
        {.option = option, .value = parse_value(*option, text, origin), .source = Source::kFlag, .origin = origin});
  }
  return settings;
}

}  // namespace virga
