#include "virga/cost/json_reader.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace virga {

using nlohmann::json;

json parse_small_json(std::string_view text, const std::string& what, ErrorKind kind) {
  // nlohmann's parser does not bound nesting by itself, and destroying a deep value recurses.
  constexpr int kMostDepth = 8;
  const auto bounded = [&](int depth, json::parse_event_t, json&) {
    if (depth > kMostDepth) throw Error(kind, fmt::format("{}: is nested too deeply", what));
    return true;
  };
  try {
    return json::parse(text, bounded);
  } catch (const json::exception& error) {
    throw Error(kind, fmt::format("{}: is not JSON: {}", what, error.what()));
  }
}

JsonReader::JsonReader(const json& object, std::string what, ErrorKind kind,
                       std::initializer_list<std::string_view> names)
    : object_(object), what_(std::move(what)), kind_(kind) {
  if (!object.is_object()) throw Error(kind_, fmt::format("{} is no object", what_));
  for (const auto name : names) {
    if (!object.contains(name)) refuse(name, "is missing");
  }
  for (const auto& item : object.items()) {
    if (std::ranges::find(names, item.key()) == names.end()) refuse(item.key().substr(0, 64), "is not known");
  }
}

std::string JsonReader::path(std::string_view name) const {
  return fmt::format("{}{}{}", what_, what_.find(": ") == std::string::npos ? ": " : ".", name);
}

void JsonReader::refuse(std::string_view name, std::string_view reason) const {
  throw Error(kind_, fmt::format("{} {}", path(name), reason));
}

const json& JsonReader::member(std::string_view name) const { return *object_.find(name); }

std::uint64_t JsonReader::count(std::string_view name, std::uint64_t least, std::uint64_t most) const {
  const auto& value = member(name);
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() < least || value.get<std::uint64_t>() > most) {
    refuse(name, fmt::format("must be a whole number from {} to {}", least, most));
  }
  return value.get<std::uint64_t>();
}

double JsonReader::real(std::string_view name, double most) const {
  const auto& value = member(name);
  if (!value.is_number() || !(value.get<double>() >= 0 && value.get<double>() <= most)) {
    refuse(name, fmt::format("must be a number from 0 to {:g}", most));
  }
  return value.get<double>();
}

bool JsonReader::flag(std::string_view name) const {
  if (!member(name).is_boolean()) refuse(name, "must be true or false");
  return member(name).get<bool>();
}

std::string JsonReader::text(std::string_view name, std::size_t least_bytes, std::size_t most_bytes) const {
  const auto& value = member(name);
  if (!value.is_string()) refuse(name, "must be a text");
  auto text = value.get<std::string>();
  if (text.size() < least_bytes || text.size() > most_bytes) {
    refuse(name, fmt::format("must have {} to {} bytes", least_bytes, most_bytes));
  }
  return text;
}

const json& JsonReader::object(std::string_view name) const {
  if (!member(name).is_object()) refuse(name, "must be an object");
  return member(name);
}

}  // namespace virga
