#include "virga/job/job_docs.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/job/settings.h"

namespace virga {
namespace {

bool has_empty_word(const Option& option) { return option.fallback == "auto" || option.fallback == "none"; }
bool is_built(const Option& option) { return option.instead.empty(); }
bool is_built(const Choice& choice) { return choice.instead.empty(); }

std::string type_text(const Option& option) {
  const auto or_word = has_empty_word(option) ? fmt::format(" or `\"{}\"`", option.fallback) : std::string();
  switch (option.type) {
    case OptionType::kText:
      return "string";
    case OptionType::kPath:
      return "path or URI";
    case OptionType::kChoice:
      return "one of the words below";
    case OptionType::kBoolean:
      return "`true` or `false`";
    case OptionType::kInteger:
      return "whole number" + or_word;
    case OptionType::kNumber:
      return "number" + or_word;
    case OptionType::kBytes:
      return "bytes" + or_word;
    case OptionType::kTime:
      return "time" + or_word;
    case OptionType::kTextList:
      return "array of strings";
    case OptionType::kClassWeight:
      return "`\"none\"`, `\"balanced\"` or a table of numbers";
  }
  return {};
}

/// The range in words, or nothing when it is all that the type can hold.
std::string range_text(const Option& option) {
  if (option.type != OptionType::kInteger && option.type != OptionType::kNumber) return {};
  const auto& range = option.range;
  auto text = fmt::format("{} {}", range.above_min ? "above" : "at least", range.min);
  if (range.max < 1e9) text += fmt::format(", {} {}", range.below_max ? "below" : "at most", range.max);
  return text;
}

/// A default as TOML, or as a word for "nothing".
std::string default_toml(const Option& option) {
  if (option.type == OptionType::kTextList) return "[]";
  if (option.fallback.empty()) return {};
  const bool bare = (option.type == OptionType::kInteger || option.type == OptionType::kNumber ||
                     option.type == OptionType::kBoolean) &&
                    !has_empty_word(option);
  return bare ? std::string(option.fallback) : fmt::format("\"{}\"", option.fallback);
}

std::string option_entry(const Option& option) {
  auto text = fmt::format("### `{}`\n\n{}.", option_name(option), option.help);
  if (!option.more.empty()) text += fmt::format(" {}", option.more);
  text += fmt::format("\n\n- Type: {}", type_text(option));
  if (const auto range = range_text(option); !range.empty()) text += fmt::format("; {}", range);
  const auto fallback = default_toml(option);
  text += fmt::format("\n- Default: {}", fallback.empty() ? "not set" : "`" + fallback + "`");
  if (!option.example.empty()) text += fmt::format("\n- Example: `{} = {}`", option.key, option.example);
  text += is_argument(option) ? "\n- Flag: none; the argument of `virga train`"
                              : fmt::format("\n- Flag: `{}`", option_flag(option));
  if (option.type == OptionType::kBoolean) text += fmt::format(" or `--no-{}`", option_flag(option).substr(2));
  text += fmt::format("; variable: `{}`\n", option_variable(option));
  std::string absent;
  for (const auto& choice : option.choices) {
    if (is_built(choice)) {
      text += fmt::format("- `\"{}\"`: {}\n", choice_text(choice), choice.help);
    } else {
      absent += fmt::format("{}`\"{}\"`", absent.empty() ? "" : ", ", choice.word);
    }
  }
  if (!absent.empty()) text += fmt::format("- Not built yet, and refused: {}\n", absent);
  return text + "\n";
}

constexpr std::string_view kIntroduction = R"(# The job file

<!-- Written by `virga config docs`; change virga/job/options.cc instead. -->

A job file says what `virga train` does. It is [TOML 1.0](https://toml.io): sections in brackets, one option a line, `#` before a
comment. Every option may be left out; `virga init` writes a commented file to start from, `virga config show JOB` prints
every value and where it comes from, `virga config schema` prints a JSON Schema for editors.

    [data]
    train = "examples/adult/a9a.gz"

    [optimizer]
    learning_rate = 0.1

    [stop]
    epochs = 5

The same options are flags of `virga train` and environment variables. What counts is the first of

1. the flag (`--learning-rate 0.1`),
2. the variable (`VIRGA_OPTIMIZER_LEARNING_RATE=0.1`; an empty one counts as not set),
3. the job file,
4. `config.toml` in `$VIRGA_HOME` (by default `~/.virga`), which has the same sections and keys,
5. the default.

- A relative path in a file starts at that file's folder; in a flag or a variable, at the current folder.
- A time is a number of seconds or has a unit: `"250ms"`, `"90s"`, `"15min"`, `"1.5h"`.
- On the command line and in variables, lists are separated by commas, and class weights are written `0=1,1=2.5`.
- An unknown section or key, a value of another type or out of range, and an option that is not built yet are refused, with file and
  line.

)";

nlohmann::json value_schema(const Option& option) {
  using nlohmann::json;
  switch (option.type) {
    case OptionType::kText:
    case OptionType::kPath:
      return {{"type", "string"}, {"minLength", 1}};
    case OptionType::kChoice: {
      auto words = json::array();
      auto any_of = json::array();
      for (const auto& choice : option.choices) {
        if (!is_built(choice)) continue;
        if (choice.rest.empty()) {
          words.push_back(choice.word);
        } else {
          any_of.push_back({{"type", "string"}, {"pattern", fmt::format("^{}.", choice.word)}});
        }
      }
      json one_word{{"enum", words}};
      if (any_of.empty()) return one_word;
      any_of.insert(any_of.begin(), one_word);
      return {{"anyOf", any_of}};
    }
    case OptionType::kBoolean:
      return {{"type", "boolean"}};
    case OptionType::kInteger:
    case OptionType::kNumber: {
      const bool whole = option.type == OptionType::kInteger;
      json schema{{"type", whole ? "integer" : "number"}};
      schema[option.range.above_min ? "exclusiveMinimum" : "minimum"] = option.range.min;
      if (option.range.max < 1e18) schema[option.range.below_max ? "exclusiveMaximum" : "maximum"] = option.range.max;
      return schema;
    }
    case OptionType::kBytes:
      return {{"anyOf",
               {{{"type", "integer"}, {"minimum", option.range.min}},
                {{"type", "string"}, {"pattern", "^[0-9.]+ ?(B|[kKMGT]B?|[KMGT]iB)?$"}}}}};
    case OptionType::kTime:
      return {{"anyOf",
               {{{"type", "number"}, {"exclusiveMinimum", 0}},
                {{"type", "string"}, {"pattern", "^[0-9.]+ ?(s|sec|ms|us|m|min|h|hour|hours|d)?$"}}}}};
    case OptionType::kTextList:
      return {{"type", "array"}, {"items", {{"type", "string"}}}};
    case OptionType::kClassWeight:
      return {{"anyOf",
               {{{"enum", {"balanced"}}},
                {{"type", "object"}, {"additionalProperties", {{"type", "number"}, {"minimum", 0}}}}}}};
  }
  return {};
}

nlohmann::json option_schema(const Option& option) {
  auto schema = value_schema(option);
  if (has_empty_word(option) && option.type != OptionType::kChoice) {
    schema = {{"anyOf", {{{"enum", {option.fallback}}}, std::move(schema)}}};
  }
  schema["description"] = fmt::format("{}.{}{}", option.help, option.more.empty() ? "" : " ", option.more);
  if (!option.fallback.empty()) {
    const auto value = parse_value(option, option.fallback, "default");
    schema["default"] =
        std::holds_alternative<std::monostate>(value) ? nlohmann::json(option.fallback) : value_json(option, value);
  }
  return schema;
}

}  // namespace

std::string job_docs_page() {
  std::string page(kIntroduction);
  std::string absent;
  for (const auto& section : job_sections()) {
    page += section.name.empty() ? fmt::format("## {}\n\n", "Outside the sections")
                                 : fmt::format("## [{}]\n\n", section.name);
    page += fmt::format("{}\n\n", section.help);
    for (const auto& option : job_options()) {
      if (option.section != section.name) continue;
      if (is_built(option)) {
        page += option_entry(option);
      } else {
        absent += fmt::format("- `{}`: {}; {}.\n", option_name(option), option.help, option.instead);
      }
    }
  }
  if (!absent.empty()) return page + "## Announced, not built yet\n\n" + absent;
  page.pop_back();  // no empty line at the end
  return page;
}

nlohmann::json job_schema() {
  using nlohmann::json;
  json schema{{"$schema", "https://json-schema.org/draft/2020-12/schema"},
              {"title", "Virga job file"},
              {"type", "object"},
              {"additionalProperties", false},
              {"properties", json::object()}};
  auto& top = schema["properties"];
  for (const auto& section : job_sections()) {
    auto properties = json::object();
    for (const auto& option : job_options()) {
      if (option.section == section.name && is_built(option)) {
        properties[std::string(option.key)] = option_schema(option);
      }
    }
    if (section.name.empty()) {
      top.update(properties);
    } else {
      top[std::string(section.name)] = {{"type", "object"},
                                        {"description", section.help},
                                        {"additionalProperties", false},
                                        {"properties", std::move(properties)}};
    }
  }
  return schema;
}

std::string job_template(const std::string& data) {
  std::string text =
      "# A job for `virga train`. Lines that begin with # show an option at its default, or an example;\n"
      "# `virga config docs` explains all of them, `virga config show FILE` prints what counts.\n\n";
  const auto line = [](const Option& option) {
    const auto fallback = default_toml(option);
    const bool says_nothing = fallback.empty() || fallback == "[]" || option.fallback == "none";
    const auto value = says_nothing ? std::string(option.example) : fallback;
    return fmt::format("{:<40}# {}\n", fmt::format("# {} = {}", option.key, value), option.help);
  };
  for (const auto& option : job_options()) {
    if (option.section.empty()) text += line(option);
  }
  for (const auto& section : job_sections()) {
    if (section.name.empty() || section.name == "exchange") continue;
    text += fmt::format("\n[{}]  # {}\n", section.name, section.help);
    for (const auto& option : job_options()) {
      if (option.section != section.name || !is_built(option)) continue;
      const bool chosen = is_argument(option);
      text += chosen ? fmt::format("train = {}\n", nlohmann::json(data).dump()) : line(option);
    }
  }
  return text;
}

}  // namespace virga
