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

/// parse_job_text of a file of at most 1 MiB. Throws as it does, and Error(kUsage) when the file cannot be read.
[[nodiscard]] std::vector<Setting> read_job_file(const std::filesystem::path& path, Source source);

}  // namespace virga
