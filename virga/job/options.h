#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "virga/job/job.h"

namespace virga {

/// What may stand as the value of an option.
enum class OptionType {
  kText,
  kPath,    ///< URI or path; a relative one in a job file starts at the job file's folder
  kChoice,  ///< one of Option::choices; of one with a rest, the word and something after it
  kBoolean,
  kInteger,  ///< at most 2^63 - 1, TOML's largest
  kNumber,
  kBytes,        ///< a number of bytes, or with a unit: "1769MB"
  kTime,         ///< a number of seconds, or with a unit: "15min"
  kTextList,     ///< array of strings; "a,b,c" on the command line
  kClassWeight,  ///< "balanced", or class = weight; "0=1,1=2.5" on the command line
};

/// monostate: "auto", "none" or not said.
using Value = std::variant<std::monostate, bool, std::uint64_t, double, std::string, std::vector<std::string>,
                           std::map<std::string, double>, std::chrono::nanoseconds>;

struct Choice {
  std::string_view word;
  std::string_view help;
  std::string_view instead = {};  ///< not empty: announced, but not built; says what works
  /// Not empty: any text may follow `word` that `check_rest` takes; how help calls it.
  std::string_view rest = {};
  void (*check_rest)(std::string_view rest) = nullptr;  ///< throws Error(kUsage)
  bool is_path = false;                                 ///< the rest is one, as of kPath; then `word` is empty
};
/// As help writes it: "ps", "ps:ADDRESS".
[[nodiscard]] std::string choice_text(const Choice& choice);

/// The values that a number may have.
struct Range {
  double min = 0;
  double max = 1e18;
  bool above_min = false;  ///< min itself is not allowed
  bool below_max = false;  ///< nor is max
};

/// One option of a job. Everything that reads, checks, explains or completes options goes by this declaration.
struct Option {
  std::string_view section;  ///< table of the job file; "" for the top level
  std::string_view key;
  OptionType type = OptionType::kText;
  /// The default, as text. "": none. "auto" and "none" are words that any source may give as well, for monostate.
  std::string_view fallback = {};
  std::string_view flag = {};         ///< of `virga train` without "--"; "": the key, with dashes
  std::string_view placeholder = {};  ///< how help calls the value: RATE, COLUMN
  std::vector<Choice> choices = {};
  Range range = {};
  std::string_view help = {};                   ///< one line, no full stop
  std::string_view more = {};                   ///< sentences for the page of docs
  std::string_view example = {};                ///< TOML value for the page and the template
  std::string_view instead = {};                ///< not empty: announced, but not built; says what works
  void (*store)(Job&, const Value&) = nullptr;  ///< null exactly when not built
};

struct Section {
  std::string_view name;
  std::string_view help;
};

/// The sections in the order of the job file; "" comes last.
[[nodiscard]] std::span<const Section> job_sections();
/// All options, section by section; they live as long as the program.
[[nodiscard]] std::span<const Option> job_options();
/// Null if there is none.
[[nodiscard]] const Option* find_option(std::string_view section, std::string_view key);

/// Is `text`, as the option's value, a path or URI?
[[nodiscard]] bool is_path(const Option& option, std::string_view text);

[[nodiscard]] std::string option_name(const Option& option);  ///< "optimizer.learning_rate"
[[nodiscard]] std::string option_flag(const Option& option);  ///< "--learning-rate"
/// Has it no flag, being an argument of the command line itself (data.train)?
[[nodiscard]] bool is_argument(const Option& option);
[[nodiscard]] std::string option_variable(const Option& option);  ///< "VIRGA_OPTIMIZER_LEARNING_RATE"

}  // namespace virga
