#pragma once

#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "virga/job/settings.h"

namespace virga {

/// A named point of the design space: what it decides about a job. All else stays as the job says.
struct Preset {
  std::string_view name;
  std::string_view help;
  std::vector<std::pair<std::string_view, std::string_view>> values;  ///< option_name() and text
};

/// They live as long as the program.
[[nodiscard]] std::span<const Preset> presets();
/// Throws Error(kUsage) with the nearest, and all that there are.
[[nodiscard]] const Preset& find_preset(std::string_view name);
/// As if they had been given as flags.
[[nodiscard]] std::vector<Setting> settings_of(const Preset& preset);

}  // namespace virga
