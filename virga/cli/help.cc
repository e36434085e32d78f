#include "virga/cli/help.h"

#include <algorithm>

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "virga/base/version.h"
#include "virga/cli/output.h"

namespace virga {
namespace {

constexpr std::size_t kNameColumns = 28;

std::size_t page_width() { return std::min(terminal_width(STDOUT_FILENO), 100U); }

/// "  NAME        text, wrapped beside it"
std::string entry_lines(const std::string& name, const std::string& text) {
  const bool fits = name.size() + 4 <= kNameColumns;
  auto line =
      fits ? fmt::format("  {:<{}}", name, kNameColumns - 2) : fmt::format("  {}\n{:>{}}", name, "", kNameColumns);
  return line + wrap(text, page_width(), kNameColumns) + "\n";
}

/// Entries below their groups' headings, groups in the order in which they come first.
std::string grouped(const std::vector<HelpEntry>& entries) {
  std::vector<std::string> groups;
  for (const auto& entry : entries) {
    if (std::ranges::find(groups, entry.group) == groups.end()) groups.push_back(entry.group);
  }
  std::string text;
  for (const auto& group : groups) {
    text += "\n" + group + ":\n";
    for (const auto& entry : entries) {
      if (entry.group == group) text += entry_lines(entry.name, entry.text);
    }
  }
  return text;
}

std::string option_name(const CLI::Option& option) {
  std::string name;
  for (const auto& word : option.get_snames()) name += fmt::format("{}-{}", name.empty() ? "" : ", ", word);
  for (const auto& word : option.get_lnames()) name += fmt::format("{}--{}", name.empty() ? "" : ", ", word);
  if (option.get_expected_max() > 0 && !option.get_type_name().empty()) name += " " + option.get_type_name();
  return name;
}

}  // namespace

std::string overview_page(const std::vector<HelpEntry>& commands) {
  auto page = created_by() +
              ": trains machine-learning models by mini-batches, bit by bit the same for the same job and workers.\n";
  page += R"(
Usage: virga COMMAND [FLAGS] ...

Start here:
  virga train data.csv --label clicked        train a model on a file
  virga evaluate model.safetensors test.csv   how good is it?
  virga predict model.safetensors new.csv     use it
)";
  page += grouped(commands);
  page += R"(
Flags: -h, --help (also after a command); --version

Exit codes:
  0  done: a criterion that was asked for ended it      4  a service or credentials failed
  1  failed                                             5  time was over before the target was reached
  2  the command line or the job file is wrong          130, 143  stopped by a signal; the best model is kept
  3  data are missing, wrong or damaged
)";
  return page;
}

std::string command_page(const CLI::App& app, const CommandText& text, const std::vector<HelpEntry>& inner_commands) {
  auto page = fmt::format("{}.\n\nUsage: virga {}{}{}\n", text.summary, text.name,
                          inner_commands.empty() ? " [FLAGS]" : " COMMAND [FLAGS]",
                          text.arguments.empty() ? "" : " " + text.arguments);
  if (!text.details.empty()) page += "\n" + wrap(text.details, page_width()) + "\n";
  page += grouped(inner_commands);
  if (!text.examples.empty()) page += "\nExamples:\n";
  for (const auto& [line, meaning] : text.examples) {
    page += fmt::format("  {}\n      {}\n", line, wrap(meaning, page_width(), 6));
  }
  std::vector<HelpEntry> options;
  std::vector<HelpEntry> display;  // what all commands share comes last
  for (const auto* option : app.get_options()) {
    if (option->get_positional() || option->get_group().empty()) continue;
    auto& list = option->get_group() == "Output" ? display : options;
    list.push_back({option->get_group() == "Options" ? "Flags" : option->get_group(), option_name(*option),
                    option->get_description()});
  }
  return page + grouped(options) + grouped(display);
}

std::string command_path(const CLI::App& app) {
  const auto* parent = app.get_parent();
  if (parent == nullptr) return {};
  const auto before = command_path(*parent);
  return before.empty() ? app.get_name() : before + " " + app.get_name();
}

}  // namespace virga
