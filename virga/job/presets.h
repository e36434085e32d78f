#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "virga/job/job_file.h"

namespace virga {

/// A named point of the design space: what it decides about a job, as if that had been given as flags. All else stays
/// as the job says. It is a job file (docs/compare.md), whose first line is a comment that says what it is.
struct Preset {
  std::string name;
  std::string help;
  std::string text;  ///< the file
  std::vector<Setting> settings;
  std::vector<TunedOption> tune;
};

/// Most combinations of what a preset may tune.
inline constexpr std::size_t kMostTrials = 64;

/// Throws Error(kUsage, kUnsupported) as parse_tunable_job_text(), and kUsage for more than kMostTrials combinations.
/// The messages call it `where`.
[[nodiscard]] Preset parse_preset(std::string_view name, std::string_view text, std::string_view where);

/// Those of examples/presets/, which the program contains. They live as long as the program.
[[nodiscard]] std::span<const Preset> presets();
/// One of presets(), or what is in a file: a name with a '/' or that ends with ".toml". Throws Error(kUsage) with the
/// nearest name, and all that there are, and for a file that cannot be read, or as parse_preset().
[[nodiscard]] Preset find_preset(std::string_view name);

/// All combinations of what it tunes, each as the settings that decide it, in the order of the file, the last key
/// changing fastest. One without settings if it tunes nothing.
[[nodiscard]] std::vector<std::vector<Setting>> trials_of(const Preset& preset);

}  // namespace virga
