#include "virga/cli/job_flags.h"

#include <algorithm>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "virga/job/job_file.h"

namespace virga {
namespace {

/// "What to train: auto, logistic, svm (default auto)"
std::string description(const Option& option) {
  std::string words;
  for (const auto& choice : option.choices) {
    if (choice.instead.empty()) words += fmt::format("{}{}", words.empty() ? ": " : ", ", choice_text(choice));
  }
  const bool said =
      option.help.find(option.fallback) != std::string_view::npos && option.type == OptionType::kClassWeight;
  const bool silent = option.fallback.empty() || option.fallback == "none" || said;
  const auto fallback = silent ? std::string() : fmt::format(" (default {})", option.fallback);
  return std::string(option.help) + words + fallback;
}

std::string group_of(const Option& option) {
  return option.section.empty() ? std::string("Flags") : fmt::format("[{}]", option.section);
}

}  // namespace

void JobFlags::declare(CLI::App& app, const std::vector<std::string>& only) {
  for (const auto& option : job_options()) {
    if (option.store == nullptr || is_argument(option)) continue;
    if (!only.empty() && std::ranges::find(only, option_name(option)) == only.end()) continue;
    const auto flag = option_flag(option);
    CLI::Option* declared = nullptr;
    if (option.type == OptionType::kBoolean) {
      declared = app.add_flag(fmt::format("{},!--no-{}", flag, flag.substr(2)), given_[&option], description(option));
    } else if (option.type == OptionType::kTextList) {
      declared = app.add_option(flag, lists_[&option], description(option))
                     ->delimiter(',')
                     ->allow_extra_args(false)
                     ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    } else {
      declared = app.add_option(flag, given_[&option], description(option));
    }
    declared->group(group_of(option));
    if (option.type != OptionType::kBoolean) declared->type_name(std::string(option.placeholder));
  }
}

std::vector<Setting> JobFlags::settings() const {
  std::vector<Setting> settings;
  for (const auto& [option, text] : given_) {
    if (!text) continue;
    const auto flag = option_flag(*option);
    settings.push_back(
        {.option = option, .value = parse_value(*option, *text, flag), .source = Source::kFlag, .origin = flag});
  }
  for (const auto& [option, words] : lists_) {
    if (words.empty()) continue;
    const auto flag = option_flag(*option);
    check_value(*option, words, flag);
    settings.push_back({.option = option, .value = words, .source = Source::kFlag, .origin = flag});
  }
  return settings;
}

Settings load_settings(const Session& session, const std::string& job_file, std::vector<Setting> flags) {
  Settings settings;
  const auto config = session.home() / "config.toml";
  if (std::filesystem::exists(config)) settings.set(read_job_file(config, Source::kConfig));
  if (!job_file.empty()) settings.set(read_job_file(job_file, Source::kJobFile));
  std::vector<std::string> warnings;
  settings.set(settings_from_environment(session.environment(), warnings));
  for (const auto& warning : warnings) session.warn(warning);
  settings.set(std::move(flags));
  return settings;
}

bool is_job_file(const std::string& path) { return path.ends_with(".toml"); }

}  // namespace virga
