#include <algorithm>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/cli/commands.h"
#include "virga/cli/help.h"
#include "virga/job/options.h"

namespace virga {
namespace {

std::vector<std::string> flags_of(const CLI::App& app) {
  std::vector<std::string> flags;
  for (const auto* option : app.get_options()) {
    for (const auto& name : option->get_snames()) flags.push_back("-" + name);
    for (const auto& name : option->get_lnames()) flags.push_back("--" + name);
  }
  return flags;
}

/// "  path) words ;;" for `app` and all commands in it.
std::string command_cases(const CLI::App& app) {
  std::vector<std::string> words;
  std::string inner;
  for (const auto* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    words.push_back(command->get_name());
    inner += command_cases(*command);
  }
  const auto flags = flags_of(app);
  words.insert(words.end(), flags.begin(), flags.end());
  return fmt::format("    \"{}\") choices=\"{}\" ;;\n", command_path(app), fmt::join(words, " ")) + inner;
}

/// "  --flag) words ;;" for flags that take one of a few words.
std::string value_cases() {
  std::string cases = "    --progress) choices=\"auto bar plain jsonl none\" ;;\n";
  for (const auto& option : job_options()) {
    std::vector<std::string_view> words;
    for (const auto& choice : option.choices) {
      if (choice.instead.empty()) words.push_back(choice.word);
    }
    if (!words.empty()) {
      cases += fmt::format("    {}) choices=\"{}\" ;;\n", option_flag(option), fmt::join(words, " "));
    }
  }
  return cases;
}

/// "config|..." : commands that have commands of their own.
std::string groups(const CLI::App& app) {
  std::string names = "\"\"";
  for (const auto* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (!command->get_subcommands([](const CLI::App*) { return true; }).empty()) names += "|" + command->get_name();
  }
  return names;
}

int completion(Program& program, const std::string& shell, Session& session) {
  if (shell != "bash" && shell != "zsh") {
    throw Error(ErrorKind::kUsage,
                shell.empty() ? "no shell was named" : fmt::format("there is no completion for '{}'", shell),
                "virga completion bash, or virga completion zsh");
  }
  session.print(program.completion(shell));
  return 0;
}

}  // namespace

// Names matter: zsh gives `path` and `words` meanings of their own.
std::string Program::completion(std::string_view shell) {
  declare([](const CLI::App&) { return true; });
  // zsh runs the same functions through its emulation of bash's completion.
  std::string script = shell == "zsh" ? "#compdef virga\nautoload -U +X bashcompinit && bashcompinit\n" : "";
  script += "# Completion for virga; load it with: source <(virga completion " + std::string(shell) + ")\n";
  script += R"sh(_virga() {
  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
  local command="" choices="" word i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="${COMP_WORDS[i]}"
    case "$word" in -*) continue ;; esac
    case "$command" in
      )sh";
  script += groups(*app_);
  script += R"sh() command="${command:+$command }$word" ;;
    esac
  done
  case "$previous" in
)sh";
  script += value_cases();
  script += R"sh(  esac
  if [ -n "$choices" ]; then
    COMPREPLY=($(compgen -W "$choices" -- "$current"))
    return
  fi
  case "$command" in
)sh";
  script += command_cases(*app_);
  script += R"sh(  esac
  case "$command" in
    show|rm|logs|stop|resume) case "$current" in -*) ;; *) choices="last $(virga runs --quiet 2>/dev/null)" ;; esac ;;
    completion) choices="bash zsh $choices" ;;
  esac
  COMPREPLY=($(compgen -W "$choices" -- "$current"))
}
complete -o default -F _virga virga
)sh";
  return script;
}

void add_completion_command(Program& program) {
  auto shell = std::make_shared<std::string>();
  auto& app = program.add(
      "Setting up",
      {.name = "completion",
       .arguments = "bash|zsh",
       .summary = "Prints a script that completes commands and flags on the Tab key",
       .examples = {{"source <(virga completion bash)", "for this shell; put the line into ~/.bashrc for all"},
                    {"source <(virga completion zsh)", "after compinit, in ~/.zshrc"}}},
      [&program, shell](Session& session) { return completion(program, *shell, session); });
  app.add_option("SHELL", *shell, "bash or zsh");
}

}  // namespace virga
