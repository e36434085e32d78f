#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "virga/job/settings.h"

namespace virga {

/// The settings of a job file or of config.toml: TOML 1.0, sections and keys as declared in options.cc. `name` goes
/// into messages and origins ("job.toml:12"). Relative paths are taken from `folder` ("": left alone). Throws
/// Error(kUsage) for what is not TOML, unknown sections and keys (with the nearest known one) and wrong types, and
/// Error(kUnsupported) for what is announced but not built; all name file and line.
[[nodiscard]] std::vector<Setting> parse_job_text(std::string_view text, std::string_view name, Source source,
                                                  const std::filesystem::path& folder);

/// What may be tried for an option, one at a time.
struct TunedOption {
  const Option* option = nullptr;
  std::vector<Value> values;
  std::string origin;
};

/// A job file that may have a section [tune.SECTION] for each [SECTION], with an array of values for a key.
struct TunableJob {
  std::vector<Setting> settings;
  std::vector<TunedOption> tune;
};
/// As parse_job_text; an array that is empty is refused, too.
[[nodiscard]] TunableJob parse_tunable_job_text(std::string_view text, std::string_view name, Source source);

/// parse_job_text of a file of at most 1 MiB. Throws as it does, and Error(kUsage) when the file cannot be read.
[[nodiscard]] std::vector<Setting> read_job_file(const std::filesystem::path& path, Source source);

}  // namespace virga
