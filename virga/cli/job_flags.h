#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "virga/cli/session.h"
#include "virga/job/settings.h"

namespace CLI {
class App;
}

namespace virga {

/// The options of a job as flags of a command.
class JobFlags {
 public:
  /// Adds a flag for every option that is built, but for data.train, which is an argument; `only`: just for those with
  /// these names ("data.label"). This object must outlive `app`.
  void declare(CLI::App& app, const std::vector<std::string>& only = {});
  /// Those that were given. Throws as parse_value.
  [[nodiscard]] std::vector<Setting> settings() const;

 private:
  std::map<const Option*, std::optional<std::string>> given_;
  std::map<const Option*, std::vector<std::string>> lists_;
};

/// All layers in their order: config.toml, `job_file` ("": none), variables, then `flags`. Warns of variables that are
/// a typing error. Throws as the readers of each.
[[nodiscard]] Settings load_settings(const Session& session, const std::string& job_file, std::vector<Setting> flags);

/// Is it a job file rather than data? By its ending, .toml.
[[nodiscard]] bool is_job_file(const std::string& path);

}  // namespace virga
