#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace virga {

// What the declarations of options say to people and editors.

/// The page docs/job-file.md.
[[nodiscard]] std::string job_docs_page();
/// JSON Schema (draft 2020-12) of a job file, for editors that complete and check TOML by one.
[[nodiscard]] nlohmann::json job_schema();
/// A job file for `virga init`: every section with the options most used, those at their default commented out.
/// It trains on `data`.
[[nodiscard]] std::string job_template(const std::string& data);

}  // namespace virga
