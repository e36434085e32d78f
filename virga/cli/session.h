#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "virga/cli/progress.h"

namespace virga {

using Variables = std::vector<std::pair<std::string, std::string>>;

/// What the flags that all commands share say.
struct DisplayFlags {
  bool json = false;
  bool quiet = false;
  bool verbose = false;
  std::string progress = "auto";  ///< auto | bar | plain | jsonl | none
};

/// What a command has around it: its environment, where its output goes. One thread, but for the display.
class Session {
 public:
  Session(Variables environment, DisplayFlags flags);

  /// "" when not set.
  [[nodiscard]] std::string variable(std::string_view name) const;
  [[nodiscard]] const Variables& environment() const noexcept { return environment_; }
  /// $VIRGA_HOME, else ~/.virga; need not be there. Throws Error(kUsage) when neither variable is set.
  [[nodiscard]] std::filesystem::path home() const;

  [[nodiscard]] bool json() const noexcept { return flags_.json; }
  [[nodiscard]] bool quiet() const noexcept { return flags_.quiet; }
  [[nodiscard]] bool verbose() const noexcept { return flags_.verbose; }

  /// To standard output: the result of a command. Throws OutputClosed, Error(kIo).
  void print(std::string_view text) const;
  /// The one document of a command under --json; "schema_version" is added.
  void print_json(nlohmann::json document) const;

  /// To standard error: "virga: warning: TEXT"; not under --quiet.
  void warn(std::string_view text) const;
  /// To standard error; a line for people, not under --quiet.
  void note(std::string_view text) const;

  /// A display as --progress says; auto is a bar on a terminal, else plain lines.
  [[nodiscard]] std::unique_ptr<ProgressDisplay> make_progress() const;
  /// May text to this descriptor use more than ASCII? By the locale's variables, and only on a terminal.
  [[nodiscard]] bool unicode(int descriptor) const;
  /// May text to this descriptor be coloured? Only on a terminal, and not when NO_COLOR is set.
  [[nodiscard]] bool color(int descriptor) const;

 private:
  Variables environment_;
  DisplayFlags flags_;
};

/// Compact JSON and a newline; what is not UTF-8 is replaced.
[[nodiscard]] std::string json_line(const nlohmann::json& document);

}  // namespace virga
