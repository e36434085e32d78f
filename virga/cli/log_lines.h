#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "virga/base/view.h"

namespace virga {

/// Whose a line of a function's log is.
struct LogOrigin {
  std::string task;  ///< "worker", "evaluate"; empty: not known
  WorkerId worker = 0;
  Generation generation = 0;
  bool operator==(const LogOrigin&) const = default;
};
/// "0.1" (worker 0, generation 1), "evaluate", "?".
[[nodiscard]] std::string to_string(const LogOrigin& origin);

struct LogLine {
  LogOrigin origin;
  std::string text;  ///< without its newline and control characters
  bool operator==(const LogLine&) const = default;
};

/// Says whose the lines of one log file are. A process that is used again serves one invocation after the other, and
/// what it writes says whose it is only when the function has begun ("ID worker 0 generation 1 begins, ..."): the lines
/// before that, from the platform's START on, are held back until then. Takes any text.
class LogReader {
 public:
  /// `stem`: the file's name without ".log"; of a file for one invocation it says whose ("worker-0-1", "evaluate-3").
  explicit LogReader(std::string_view stem);

  /// The lines that `text`, the next part of the file, completes. A line longer than 16 KiB becomes several.
  [[nodiscard]] std::vector<LogLine> read(std::string_view text);
  /// What is held back, when nothing more will come.
  [[nodiscard]] std::vector<LogLine> rest();

 private:
  void take(std::string_view line, std::vector<LogLine>& out);
  void release(std::vector<LogLine>& out);

  bool one_origin_ = false;  // of the whole file
  std::optional<LogOrigin> origin_;
  std::vector<std::string> held_;
  std::string partial_;
};

}  // namespace virga
