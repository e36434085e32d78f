#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "virga/cli/session.h"

namespace CLI {
class App;
}

namespace virga {

/// What --help says of a command.
struct CommandText {
  std::string name;                                           ///< "train"; "config show" for a command of a command
  std::string arguments;                                      ///< "JOB.toml | DATA"
  std::string summary;                                        ///< one line, no full stop
  std::string details;                                        ///< paragraphs
  std::vector<std::pair<std::string, std::string>> examples;  ///< command line, what it does
};

/// The command line: its commands, how they are read, explained and run.
class Program {
 public:
  using Action = std::function<int(Session&)>;

  Program();
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  /// Adds a command with the flags that all share; the caller adds its own to the result, which lives as long as this.
  /// `group`: its heading on the top page; "" hides it there. A null action makes a mere group of commands.
  CLI::App& add(std::string group, CommandText text, Action action);
  /// `declare` adds more flags to `command`, once somebody asks for it: those of a job are so many that commands which
  /// do not have them should not wait for them.
  void declare_when_needed(CLI::App& command, std::function<void()> declare);

  /// Runs one command line; `arguments` without the program's name. Everything that goes wrong is printed; returns the
  /// exit code of the process.
  int run(const std::vector<std::string>& arguments, const Variables& environment);

  /// Script text for `bash` or `zsh`.
  [[nodiscard]] std::string completion(std::string_view shell);

 private:
  struct Command;
  /// What was put off, for those commands of which needed(command) is true.
  void declare(const std::function<bool(const CLI::App&)>& needed);
  int parse_and_run(std::vector<std::string> arguments, const Variables& environment);
  [[nodiscard]] const Command* chosen() const;
  void refuse_extras(const CLI::App& app) const;
  [[nodiscard]] std::string overview() const;
  [[nodiscard]] std::string help(const Command& command) const;

  std::unique_ptr<CLI::App> app_;
  std::vector<std::unique_ptr<Command>> commands_;
  std::vector<std::pair<const CLI::App*, std::function<void()>>> undeclared_;
  DisplayFlags display_;
};

}  // namespace virga
