// The values of options as text, in ranges, and as JSON.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/units.h"
#include "virga/job/settings.h"

namespace virga {
namespace {

std::string subject(const Option& option, std::string_view origin) {
  // A flag says by itself which option is meant, a file's line does not.
  return origin.starts_with("-") ? std::string(origin) : fmt::format("{}: {}", origin, option_name(option));
}

bool has_empty_word(const Option& option) { return option.fallback == "auto" || option.fallback == "none"; }

template <typename T>
T parse_number(const Option& option, std::string_view text, std::string_view origin, std::string_view expected) {
  T number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) {
    throw Error(ErrorKind::kUsage, fmt::format("{}: '{}' is not {}", subject(option, origin), text, expected),
                has_empty_word(option) ? fmt::format("give {} or {}", expected, option.fallback) : "");
  }
  return number;
}

bool parse_boolean(const Option& option, std::string_view text, std::string_view origin) {
  if (text == "true" || text == "1" || text == "yes" || text == "on") return true;
  if (text == "false" || text == "0" || text == "no" || text == "off") return false;
  throw Error(ErrorKind::kUsage, fmt::format("{}: '{}' is neither true nor false", subject(option, origin), text));
}

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> words;
  while (!text.empty()) {
    const auto end = std::min(text.find(','), text.size());
    if (end > 0) words.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return words;
}

Value parse_class_weight(const Option& option, std::string_view text, std::string_view origin) {
  if (text == "balanced") return std::string(text);
  std::map<std::string, double> weights;
  for (const auto& pair : split_list(text)) {
    const auto equals = pair.rfind('=');
    if (equals == std::string::npos) {
      throw Error(ErrorKind::kUsage, fmt::format("{}: '{}' is not CLASS=WEIGHT", subject(option, origin), pair),
                  "give none, balanced, or weights like 0=1,1=2.5");
    }
    weights[pair.substr(0, equals)] =
        parse_number<double>(option, std::string_view(pair).substr(equals + 1), origin, "a weight");
  }
  return weights;
}

void check_rest(const Option& option, const Choice& choice, const std::string& rest, std::string_view origin) {
  try {
    choice.check_rest(rest);
  } catch (const Error& error) {
    throw Error(error.kind(), fmt::format("{}: {}", subject(option, origin), error.what()), error.remedy());
  }
}

void check_choice(const Option& option, const std::string& word, std::string_view origin) {
  std::vector<std::string> known;
  for (const auto& choice : option.choices) {
    if (choice.word == word && !choice.instead.empty()) {
      throw Error(ErrorKind::kUnsupported, fmt::format("{}: \"{}\" is not built yet", subject(option, origin), word),
                  std::string(choice.instead));
    }
    if (!choice.rest.empty() && word.starts_with(choice.word)) {
      return check_rest(option, choice, word.substr(choice.word.size()), origin);
    }
    if (choice.word == word) return;
    if (choice.instead.empty()) known.push_back(choice_text(choice));
  }
  const auto near = nearest_word(word, known);
  throw Error(ErrorKind::kUsage,
              fmt::format("{}: '{}' is not one of {}", subject(option, origin), word, fmt::join(known, ", ")),
              near.empty() ? "" : fmt::format("did you mean {}?", near));
}

void check_range(const Option& option, double number, std::string_view origin) {
  const auto& range = option.range;
  const bool low = range.above_min ? number <= range.min : number < range.min;
  const bool high = range.below_max ? number >= range.max : number > range.max;
  if (std::isfinite(number) && !low && !high) return;
  const auto limit = low || !std::isfinite(number)
                         ? fmt::format("{} {}", range.above_min ? "above" : "at least", range.min)
                         : fmt::format("{} {}", range.below_max ? "below" : "at most", range.max);
  throw Error(ErrorKind::kUsage, fmt::format("{}: must be {}, and is {}", subject(option, origin), limit, number));
}

/// Shortest text that reads back as the same number.
std::string number_text(double number) { return fmt::format("{}", number); }

}  // namespace

Value parse_value(const Option& option, std::string_view text, std::string_view origin) {
  if (has_empty_word(option) && text == option.fallback && option.type != OptionType::kChoice) return {};
  const auto parse = [&]() -> Value {
    switch (option.type) {
      case OptionType::kText:
      case OptionType::kPath:
      case OptionType::kChoice:
        return std::string(text);
      case OptionType::kBoolean:
        return parse_boolean(option, text, origin);
      case OptionType::kInteger:
        return parse_number<std::uint64_t>(option, text, origin, "a whole number");
      case OptionType::kNumber:
        return parse_number<double>(option, text, origin, "a number");
      case OptionType::kBytes:
        return parse_bytes(text, subject(option, origin));
      case OptionType::kTime:
        return parse_duration(text, subject(option, origin));
      case OptionType::kTextList:
        return split_list(text);
      case OptionType::kClassWeight:
        return parse_class_weight(option, text, origin);
    }
    return {};
  };
  auto value = parse();
  check_value(option, value, origin);
  return value;
}

void check_value(const Option& option, const Value& value, std::string_view origin) {
  if (!option.instead.empty()) {
    throw Error(ErrorKind::kUnsupported, fmt::format("{}: not built yet", subject(option, origin)),
                std::string(option.instead));
  }
  if (const auto* word = std::get_if<std::string>(&value)) {
    if (option.type == OptionType::kChoice) check_choice(option, *word, origin);
    if (word->empty()) throw Error(ErrorKind::kUsage, fmt::format("{}: is empty", subject(option, origin)));
  } else if (const auto* integer = std::get_if<std::uint64_t>(&value)) {
    if (*integer > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) {
      throw Error(ErrorKind::kUsage, fmt::format("{}: {} is too large", subject(option, origin), *integer));
    }
    check_range(option, static_cast<double>(*integer), origin);
  } else if (const auto* number = std::get_if<double>(&value)) {
    check_range(option, *number, origin);
  } else if (const auto* weights = std::get_if<std::map<std::string, double>>(&value)) {
    for (const auto& [name, weight] : *weights) check_range(option, weight, origin);
  } else if (const auto* time = std::get_if<std::chrono::nanoseconds>(&value)) {
    if (time->count() <= 0) throw Error(ErrorKind::kUsage, fmt::format("{}: must be above 0", subject(option, origin)));
  }
}

std::string value_text(const Option& option, const Value& value) {
  struct Visitor {
    const Option& option;
    std::string operator()(std::monostate) const {
      return has_empty_word(option) ? std::string(option.fallback) : std::string();
    }
    std::string operator()(bool yes) const { return yes ? "true" : "false"; }
    std::string operator()(std::uint64_t number) const {
      constexpr std::uint64_t kMegabyte = 1'000'000;
      const bool whole = option.type == OptionType::kBytes && number % kMegabyte == 0;
      return whole ? fmt::format("{}MB", number / kMegabyte) : std::to_string(number);
    }
    std::string operator()(double number) const { return number_text(number); }
    std::string operator()(const std::string& text) const { return text; }
    std::string operator()(const std::vector<std::string>& words) const {
      return fmt::format("{}", fmt::join(words, ","));
    }
    std::string operator()(const std::map<std::string, double>& weights) const {
      std::string text;
      for (const auto& [name, weight] : weights) {
        text += fmt::format("{}{}={}", text.empty() ? "" : ",", name, number_text(weight));
      }
      return text;
    }
    std::string operator()(std::chrono::nanoseconds time) const {
      return number_text(std::chrono::duration<double>(time).count()) + "s";
    }
  };
  return std::visit(Visitor{option}, value);
}

nlohmann::json value_json(const Option& option, const Value& value) {
  if (std::holds_alternative<std::monostate>(value)) {
    return option.fallback == "auto" ? nlohmann::json("auto") : nlohmann::json(nullptr);
  }
  if (const auto* time = std::get_if<std::chrono::nanoseconds>(&value)) {
    return std::chrono::duration<double>(*time).count();
  }
  return std::visit(
      [](const auto& known) -> nlohmann::json {
        using T = std::decay_t<decltype(known)>;
        if constexpr (std::is_same_v<T, std::monostate> || std::is_same_v<T, std::chrono::nanoseconds>) {
          return nullptr;
        } else {
          return known;
        }
      },
      value);
}

}  // namespace virga
