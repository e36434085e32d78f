#include "virga/cli/program.h"

#include <algorithm>
#include <csignal>

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/units.h"
#include "virga/base/version.h"
#include "virga/cli/help.h"
#include "virga/cli/output.h"
#include "virga/cli/signals.h"

namespace virga {
namespace {

const char* const kDisplayGroup = "Output";
const std::string kHelpText = "This page";
const std::string kVersionText = "Print the version";

void add_display_flags(CLI::App& app, DisplayFlags& flags) {
  app.add_flag("--json", flags.json, "One JSON document on standard output, errors too")->group(kDisplayGroup);
  app.add_option("--progress", flags.progress, "How progress is shown on standard error: auto, bar, plain, jsonl, none")
      ->type_name("HOW")
      ->group(kDisplayGroup);
  app.add_flag("-q,--quiet", flags.quiet, "No progress, notes and warnings")->group(kDisplayGroup);
  app.add_flag("-v,--verbose", flags.verbose, "More notes")->group(kDisplayGroup);
  app.add_flag("-h,--help", kHelpText)->group(kDisplayGroup);
}

bool wants_help(const CLI::App& app) {
  const auto* help = app.get_option_no_throw("--help");
  return help != nullptr && help->count() > 0;
}

/// Before a command line is understood, it is known whether a program reads the answer.
bool wants_json(const std::vector<std::string>& arguments) {
  const auto end = std::ranges::find(arguments, "--");
  return std::find(arguments.begin(), end, "--json") != end;
}

/// A word that is neither a command nor an argument that the command takes.
[[noreturn]] void refuse_word(const CLI::App& app, const std::string& word, const std::string& page) {
  std::vector<std::string> known;
  for (const auto* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    known.push_back(command->get_name());
  }
  if (known.empty()) {
    throw Error(ErrorKind::kUsage, fmt::format("unexpected argument '{}'", word), page + " shows what it takes");
  }
  const auto near = nearest_word(word, known);
  throw Error(ErrorKind::kUsage, fmt::format("unknown command '{}'", word),
              near.empty() ? page + " lists the commands" : fmt::format("did you mean {}?", near));
}

int report(const Error& error, bool json) {
  if (json) {
    const nlohmann::json document{
        {"schema_version", 1},
        {"error", {{"code", to_string(error.kind())}, {"message", error.what()}, {"remedy", error.remedy()}}}};
    try {
      write_stdout(json_line(document));
    } catch (const std::exception&) {
      json = false;  // nobody reads; the error itself still goes to standard error
    }
  }
  if (!json) {
    auto text = fmt::format("virga: error: {}\n", error.what());
    if (!error.remedy().empty()) text += fmt::format("  remedy: {}\n", error.remedy());
    write_stderr(text);
  }
  const auto signal = signal_received();
  return error.kind() == ErrorKind::kInterrupted && signal != 0 ? 128 + signal : exit_code(error.kind());
}

}  // namespace

struct Program::Command {
  std::string group;
  CommandText text;
  Action action;
  CLI::App* app = nullptr;
};

Program::Program() : app_(std::make_unique<CLI::App>()) {
  app_->set_help_flag();
  app_->allow_extras();
  app_->require_subcommand(0, 1);  // with more, a file that is called like a command would be taken for one
  app_->add_flag("-h,--help", kHelpText);
  app_->add_flag("--version", kVersionText);
}

Program::~Program() = default;

CLI::App& Program::add(std::string group, CommandText text, Action action) {
  auto* parent = app_.get();
  auto name = text.name;
  if (const auto space = name.find(' '); space != std::string::npos) {
    parent = app_->get_subcommand(name.substr(0, space));
    parent->require_subcommand(0, 1);
    name = name.substr(space + 1);
  }
  auto* app = parent->add_subcommand(name, text.summary);
  app->set_help_flag();
  app->allow_extras();
  app->option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  add_display_flags(*app, display_);
  commands_.push_back(std::make_unique<Command>(Command{std::move(group), std::move(text), std::move(action), app}));
  return *app;
}

void Program::declare_when_needed(CLI::App& command, std::function<void()> declare) {
  undeclared_.emplace_back(&command, std::move(declare));
}

void Program::declare(const std::function<bool(const CLI::App&)>& needed) {
  std::erase_if(undeclared_, [&](const auto& entry) {
    const auto& [command, declare] = entry;
    if (!needed(*command)) return false;
    declare();
    return true;
  });
}

const Program::Command* Program::chosen() const {
  const Command* deepest = nullptr;  // commands come after the group that holds them
  for (const auto& command : commands_) {
    const auto* parent = command->app->get_parent();
    if (command->app->parsed() && (parent == app_.get() || parent->parsed())) deepest = command.get();
  }
  return deepest;
}

void Program::refuse_extras(const CLI::App& app) const {
  const auto extras = app.remaining();
  if (extras.empty()) return;
  const bool top = &app == app_.get();
  const auto page = top ? std::string("virga --help") : fmt::format("virga {} --help", command_path(app));
  const auto flag = std::ranges::find_if(extras, [](const auto& word) { return word.size() > 1 && word[0] == '-'; });
  if (flag == extras.end()) refuse_word(app, extras[0], page);
  const auto name = flag->substr(0, flag->find('='));
  std::vector<std::string> known;
  for (const auto* option : app.get_options()) {
    for (const auto& long_name : option->get_lnames()) known.push_back("--" + long_name);
  }
  const auto near = nearest_word(name, known);
  auto remedy = top ? "flags come after the command: virga COMMAND " + name : page + " lists the flags";
  if (!near.empty()) remedy = fmt::format("did you mean {}?", near);
  throw Error(ErrorKind::kUsage, fmt::format("unknown flag '{}'", name), remedy);
}

int Program::parse_and_run(std::vector<std::string> arguments, const Variables& environment) {
  const auto is_named = [&](const CLI::App& command) {
    return std::ranges::find(arguments, command.get_name()) != arguments.end();
  };
  declare([&](const CLI::App& command) {
    const auto* parent = command.get_parent();
    return is_named(command) && (parent == app_.get() || is_named(*parent));
  });
  std::ranges::reverse(arguments);  // CLI11 takes them from the back
  std::string complaint;
  try {
    app_->parse(arguments);
  } catch (const CLI::ArgumentMismatch& error) {
    const std::string text = error.what();  // "--seed: 1 required N missing"
    complaint = text.ends_with(" missing") ? text.substr(0, text.find(':')) + " needs a value" : text;
  } catch (const CLI::ParseError& error) {
    complaint = error.what();
  }
  const auto* command = chosen();
  if (wants_help(*app_) && command == nullptr) return write_stdout(overview()), 0;
  if (command != nullptr && wants_help(*command->app)) return write_stdout(help(*command)), 0;
  if (app_->get_option("--version")->count() > 0) {
    return write_stdout(created_by() + "\n"), 0;
  }
  refuse_extras(*app_);
  if (command != nullptr) refuse_extras(*command->app);
  if (!complaint.empty()) {
    const auto page = command != nullptr ? " " + command->text.name : std::string();
    throw Error(ErrorKind::kUsage, complaint, fmt::format("virga{} --help shows what it takes", page));
  }
  if (command == nullptr) return write_stdout(overview()), 0;
  if (!command->action) return write_stdout(help(*command)), 0;
  static const std::vector<std::string> kModes{"auto", "bar", "plain", "jsonl", "none"};
  if (std::ranges::find(kModes, display_.progress) == kModes.end()) {
    throw Error(ErrorKind::kUsage,
                fmt::format("--progress: '{}' is not one of auto, bar, plain, jsonl, none", display_.progress));
  }
  Session session(environment, display_);
  return command->action(session);
}

int Program::run(const std::vector<std::string>& arguments, const Variables& environment) {
  const bool json = wants_json(arguments);
  try {
    return parse_and_run(arguments, environment);
  } catch (const OutputClosed&) {
    return 128 + SIGPIPE;
  } catch (const Error& error) {
    return report(error, json);
  } catch (const std::bad_alloc&) {
    return report(
        Error(ErrorKind::kTooLarge, "out of memory", "free some memory, or use smaller data or fewer workers"), json);
  } catch (const std::exception& error) {
    return report(Error(ErrorKind::kInternal, fmt::format("a bug: {}", error.what()), "please report it"), json);
  }
}

std::string Program::overview() const {
  std::vector<HelpEntry> entries;
  for (const auto& command : commands_) {
    if (!command->group.empty()) entries.push_back({command->group, command->text.name, command->text.summary});
  }
  return overview_page(entries);
}

std::string Program::help(const Command& command) const {
  std::vector<HelpEntry> inner;
  for (const auto& other : commands_) {
    if (other->app->get_parent() == command.app) inner.push_back({"Commands", other->text.name, other->text.summary});
  }
  return command_page(*command.app, command.text, inner);
}

}  // namespace virga
