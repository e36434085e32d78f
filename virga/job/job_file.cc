#include "virga/job/job_file.h"

#include <cstdint>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/base/units.h"
#include "virga/job/toml.h"

namespace virga {
namespace {

constexpr std::uint64_t kMaxBytes = 1 << 20;

std::string_view kind_of(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "an array";
    case toml::node_type::string:
      return "a string";
    case toml::node_type::integer:
      return "a whole number";
    case toml::node_type::floating_point:
      return "a number";
    case toml::node_type::boolean:
      return "true or false";
    default:
      return "a date or time";
  }
}

std::string_view expected_kind(OptionType type) {
  switch (type) {
    case OptionType::kText:
    case OptionType::kPath:
    case OptionType::kChoice:
      return "a string";
    case OptionType::kBoolean:
      return "true or false";
    case OptionType::kInteger:
      return "a whole number";
    case OptionType::kNumber:
      return "a number";
    case OptionType::kBytes:
      return "a number of bytes or a string with a unit, like \"1769MB\"";
    case OptionType::kTime:
      return "a number of seconds or a string with a unit, like \"15min\"";
    case OptionType::kTextList:
      return "an array of strings";
    case OptionType::kClassWeight:
      return "\"none\", \"balanced\" or a table like { \"0\" = 1, \"1\" = 2.5 }";
  }
  return "";
}

/// Reads one file; holds what its messages need.
class JobFileReader {
 public:
  JobFileReader(std::string_view name, Source source, const std::filesystem::path& folder)
      : name_(name), source_(source), folder_(folder) {}

  std::vector<Setting> read(const toml::table& root) {
    for (const auto& [key, node] : root) read_top(key, node);
    return std::move(settings_);
  }

  TunableJob read_tunable(const toml::table& root) {
    std::vector<TunedOption> tune;
    for (const auto& [key, node] : root) {
      if (key.str() != "tune") {
        read_top(key, node);
        continue;
      }
      for (const auto& [section, keys] : table_of(key, node)) {
        check_section(section);
        for (const auto& [inner, values] : table_of(section, keys)) tune.push_back(tuned(section.str(), inner, values));
      }
    }
    return {.settings = std::move(settings_), .tune = std::move(tune)};
  }

 private:
  [[nodiscard]] std::string place(const toml::source_region& where) const {
    return fmt::format("{}:{}", name_, where.begin.line);
  }

  void read_top(const toml::key& key, const toml::node& node) {
    if (const auto* option = find_option("", key.str())) return take(*option, node);
    check_section(key);
    for (const auto& [inner, value] : table_of(key, node)) take(known_option(key.str(), inner), value);
  }

  void check_section(const toml::key& key) const {
    std::vector<std::string> known;
    for (const auto& section : job_sections()) {
      if (section.name.empty()) continue;
      if (section.name == key.str()) return;
      known.emplace_back(section.name);
    }
    refuse_unknown_top(key, known);
  }

  [[nodiscard]] const toml::table& table_of(const toml::key& key, const toml::node& node) const {
    if (const auto* table = node.as_table()) return *table;
    throw Error(ErrorKind::kUsage,
                fmt::format("{}: '{}' is a section, and here is {}", place(key.source()), key.str(), kind_of(node)),
                fmt::format("write [{}] on a line of its own, and the keys of the section below it", key.str()));
  }

  [[nodiscard]] const Option& known_option(std::string_view section, const toml::key& key) const {
    const auto* option = find_option(section, key.str());
    if (option == nullptr) refuse_unknown_key(section, key);
    return *option;
  }

  [[nodiscard]] TunedOption tuned(std::string_view section, const toml::key& key, const toml::node& values) const {
    TunedOption tuned{.option = &known_option(section, key), .values = {}, .origin = place(key.source())};
    const auto* array = values.as_array();
    if (array == nullptr || array->empty()) {
      throw Error(ErrorKind::kUsage,
                  fmt::format("{}: tune.{} takes an array of values to try, and here is {}", tuned.origin,
                              option_name(*tuned.option), array == nullptr ? kind_of(values) : "an empty one"));
    }
    for (const auto& value : *array) tuned.values.push_back(checked(*tuned.option, value, tuned.origin));
    return tuned;
  }

  [[noreturn]] void refuse_unknown_top(const toml::key& key, std::vector<std::string> known) const {
    std::string sections = fmt::format("{}", fmt::join(known, ", "));
    for (const auto& option : job_options()) {
      if (option.key == key.str()) {  // the key of some section, without the section
        throw Error(ErrorKind::kUsage,
                    fmt::format("{}: '{}' stands outside its section", place(key.source()), key.str()),
                    fmt::format("put it below [{}]", option.section));
      }
      if (option.section.empty()) known.emplace_back(option.key);
    }
    const auto near = nearest_word(key.str(), known);
    throw Error(ErrorKind::kUsage, fmt::format("{}: unknown section '{}'", place(key.source()), key.str()),
                near.empty() ? fmt::format("the sections are {}", sections) : fmt::format("did you mean {}?", near));
  }

  [[noreturn]] void refuse_unknown_key(std::string_view section, const toml::key& key) const {
    std::vector<std::string> known;
    for (const auto& option : job_options()) {
      if (option.section == section) known.emplace_back(option.key);
    }
    std::string remedy = fmt::format("[{}] has {}", section, fmt::join(known, ", "));
    for (const auto& option : job_options()) {
      if (option.key == key.str()) remedy = fmt::format("it belongs into [{}]", option.section);
    }
    const auto near = nearest_word(key.str(), known);
    if (!near.empty()) remedy = fmt::format("did you mean {}?", near);
    throw Error(ErrorKind::kUsage, fmt::format("{}: unknown key '{}' in [{}]", place(key.source()), key.str(), section),
                remedy);
  }

  void take(const Option& option, const toml::node& node) {
    const auto origin = place(node.source());
    auto value = checked(option, node, origin);
    if (auto* path = std::get_if<std::string>(&value); path != nullptr && is_path(option, *path)) {
      if (!folder_.empty() && path->find("://") == std::string::npos && std::filesystem::path(*path).is_relative()) {
        *path = (folder_ / *path).lexically_normal().string();
      }
    }
    settings_.push_back({.option = &option, .value = std::move(value), .source = source_, .origin = origin});
  }

  [[nodiscard]] static Value checked(const Option& option, const toml::node& node, const std::string& origin) {
    if (!option.instead.empty()) check_value(option, {}, origin);  // refuses
    return convert(option, node, origin);
  }

  [[nodiscard]] static Value convert(const Option& option, const toml::node& node, const std::string& origin) {
    const auto type = option.type;
    // Strings are read as on the command line: words, times, numbers' "auto". Only plain text may look like a number.
    if (const auto* text = node.as_string()) {
      const bool by_text = type == OptionType::kText || type == OptionType::kPath || type == OptionType::kChoice ||
                           type == OptionType::kBytes || type == OptionType::kTime || type == OptionType::kClassWeight;
      if (by_text || text->get() == option.fallback) return parse_value(option, text->get(), origin);
    }
    auto value = convert_other(type, node);
    if (std::holds_alternative<std::monostate>(value)) refuse_type(option, node, origin);
    check_value(option, value, origin);
    return value;
  }

  /// monostate if the node is not of the type.
  [[nodiscard]] static Value convert_other(OptionType type, const toml::node& node) {
    switch (type) {
      case OptionType::kBoolean:
        if (const auto* yes = node.as_boolean()) return yes->get();
        return {};
      case OptionType::kInteger:
      case OptionType::kBytes:
        if (const auto* number = node.as_integer(); number != nullptr && number->get() >= 0) {
          return static_cast<std::uint64_t>(number->get());
        }
        return {};
      case OptionType::kNumber:
        if (node.is_number()) return node.value<double>().value_or(0);
        return {};
      case OptionType::kTime:
        if (node.is_number()) return seconds(node.value<double>().value_or(0));
        return {};
      case OptionType::kTextList:
        return convert_list(node);
      case OptionType::kClassWeight:
        return convert_weights(node);
      default:
        return {};
    }
  }

  [[nodiscard]] static Value seconds(double number) {
    if (!(number >= 0 && number < 9e9)) return {};
    return std::chrono::nanoseconds(static_cast<std::int64_t>(number * 1e9));
  }

  [[nodiscard]] static Value convert_list(const toml::node& node) {
    const auto* array = node.as_array();
    if (array == nullptr) return {};
    std::vector<std::string> words;
    for (const auto& element : *array) {
      const auto* text = element.as_string();
      if (text == nullptr) return {};
      words.push_back(text->get());
    }
    return words;
  }

  [[nodiscard]] static Value convert_weights(const toml::node& node) {
    const auto* table = node.as_table();
    if (table == nullptr) return {};
    std::map<std::string, double> weights;
    for (const auto& [name, weight] : *table) {
      if (!weight.is_number()) return {};
      weights[std::string(name.str())] = weight.value<double>().value_or(0);
    }
    return weights;
  }

  [[noreturn]] static void refuse_type(const Option& option, const toml::node& node, const std::string& origin) {
    std::string expected(expected_kind(option.type));
    const bool has_word = option.type != OptionType::kChoice && option.type != OptionType::kClassWeight;
    if (has_word && (option.fallback == "auto" || option.fallback == "none"))
      expected += fmt::format(" or \"{}\"", option.fallback);
    if (const auto* number = node.as_integer(); number != nullptr && number->get() < 0) {
      throw Error(ErrorKind::kUsage,
                  fmt::format("{}: {}: must be at least 0, and is {}", origin, option_name(option), number->get()));
    }
    throw Error(ErrorKind::kUsage,
                fmt::format("{}: {} takes {}, and here is {}", origin, option_name(option), expected, kind_of(node)));
  }

  std::string name_;
  Source source_;
  std::filesystem::path folder_;
  std::vector<Setting> settings_;
};

/// `read` of what stands in `text`.
template <typename Read>
auto with_toml(std::string_view text, std::string_view name, const Read& read) {
  try {
    return read(toml::parse(text, name));
  } catch (const toml::parse_error& error) {
    throw Error(ErrorKind::kUsage, fmt::format("{}:{}:{}: {}", name, error.source().begin.line,
                                               error.source().begin.column, error.description()));
  } catch (const TomlParserBug&) {
    throw Error(ErrorKind::kUsage, fmt::format("{}: is not TOML", name),
                "look for a key or a bracket that is out of place");
  }
}

}  // namespace

std::vector<Setting> parse_job_text(std::string_view text, std::string_view name, Source source,
                                    const std::filesystem::path& folder) {
  return with_toml(text, name, [&](const toml::table& root) { return JobFileReader(name, source, folder).read(root); });
}

TunableJob parse_tunable_job_text(std::string_view text, std::string_view name, Source source) {
  return with_toml(text, name,
                   [&](const toml::table& root) { return JobFileReader(name, source, {}).read_tunable(root); });
}

std::vector<Setting> read_job_file(const std::filesystem::path& path, Source source) {
  const auto folder = path.parent_path();
  try {
    const auto bytes = read_file(path, kMaxBytes);
    return parse_job_text(as_text(bytes), path.string(), source, folder);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kUsage || error.kind() == ErrorKind::kUnsupported) throw;
    throw Error(ErrorKind::kUsage, error.what(), error.remedy());  // a job file that cannot be read is a wrong command
  }
}

}  // namespace virga
