#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "virga/job/job.h"
#include "virga/job/options.h"

namespace virga {

/// Where a value comes from; a later one outranks an earlier one.
enum class Source { kDefault, kConfig, kJobFile, kVariable, kFlag };
[[nodiscard]] std::string_view to_string(Source source) noexcept;  ///< "default", "config", "job_file", ...

/// One value that was given.
struct Setting {
  const Option* option = nullptr;
  Value value;
  Source source = Source::kDefault;
  std::string origin;  ///< for people: "job.toml:12", "VIRGA_SEED", "--seed"; "" for defaults
};

/// The value that `text` (of a flag, a variable or a default) says. Throws Error(kUsage, kUnsupported), naming `origin`
/// and option: not of the type, out of range, not a known word (with the nearest), not built (with what is).
[[nodiscard]] Value parse_value(const Option& option, std::string_view text, std::string_view origin);
/// Checks range, words and "not built" of a value that already has the option's type; throws as parse_value.
void check_value(const Option& option, const Value& value, std::string_view origin);
/// What parse_value would read back; "" for a value that is not there.
[[nodiscard]] std::string value_text(const Option& option, const Value& value);
/// Number, boolean, string, array, object or null. Times are seconds.
[[nodiscard]] nlohmann::json value_json(const Option& option, const Value& value);

/// A value for every option that is built, each with its source. Starts with the defaults.
class Settings {
 public:
  Settings();
  /// Takes each setting unless a higher source has spoken; among equals the last wins.
  void set(std::vector<Setting> settings);
  [[nodiscard]] std::span<const Setting> all() const noexcept { return settings_; }
  /// The option must be one that is built.
  [[nodiscard]] const Setting& get(std::string_view section, std::string_view key) const;

 private:
  std::vector<Setting> settings_;
};

/// The values of the VIRGA_* variables among `environment` (name, value). Names that look like an option's but are none
/// (a typing error) add a line to `warnings`. Throws as parse_value. Empty values count as not set.
[[nodiscard]] std::vector<Setting> settings_from_environment(
    std::span<const std::pair<std::string, std::string>> environment, std::vector<std::string>& warnings);

/// The job, all values in place. Throws Error(kUsage) for combinations that cannot be; what has no effect adds a line
/// to `warnings`.
[[nodiscard]] Job make_job(const Settings& settings, std::vector<std::string>& warnings);

/// All settings, so that settings_from_text() gives them back; relative paths are taken from `folder`.
[[nodiscard]] std::string settings_text(const Settings& settings, const std::filesystem::path& folder);
/// Throws Error(kCorrupt) for what settings_text() does not write, and as parse_value.
[[nodiscard]] Settings settings_from_text(std::string_view text);

/// {"optimizer": {"learning_rate": {"value": 0.1, "source": "flag", "origin": "--learning-rate"}, ...}, "seed": {...}}
[[nodiscard]] nlohmann::json settings_json(const Settings& settings);

}  // namespace virga
