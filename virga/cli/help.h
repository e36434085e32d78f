#pragma once

#include <string>
#include <vector>

#include "virga/cli/program.h"

namespace virga {

struct HelpEntry {
  std::string group;
  std::string name;
  std::string text;
};

/// What `virga` alone prints: what it is, how to start, the commands, exit codes.
[[nodiscard]] std::string overview_page(const std::vector<HelpEntry>& commands);
/// What `virga COMMAND --help` prints.
[[nodiscard]] std::string command_page(const CLI::App& app, const CommandText& text,
                                       const std::vector<HelpEntry>& inner_commands);
/// "config show": the words that lead to a command.
[[nodiscard]] std::string command_path(const CLI::App& app);

}  // namespace virga
