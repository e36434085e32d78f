#include "virga/data/json_fields.h"

#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/data/escape.h"

namespace virga {
namespace {

using nlohmann::json;

void require(bool condition, const std::string& what, std::string_view reason) {
  if (!condition) throw Error(ErrorKind::kCorrupt, fmt::format("{} {}", what, reason));
}

std::uint64_t to_number(const json& value, const std::string& what, std::uint64_t most) {
  require(value.is_number_unsigned(), what, "must be an integer, 0 or more");
  require(value.get<std::uint64_t>() <= most, what, "is too large");
  return value.get<std::uint64_t>();
}

double to_real(const json& value, const std::string& what) {
  require(value.is_number() && std::isfinite(value.get<double>()), what, "must be a number");
  return value.get<double>();
}

std::string to_text(const json& value, const std::string& what) {
  require(value.is_string(), what, "must be a text");
  return unescape_text(value.get_ref<const std::string&>(), what);
}

}  // namespace

JsonFields::JsonFields(const json& object, std::string what, std::initializer_list<std::string_view> names)
    : object_(object), what_(std::move(what)) {
  require(object.is_object(), what_, "must be an object");
  for (const auto name : names) require(object.contains(name), path(name), "is missing");
  require(object.size() == names.size(), what_, "has members that are not known");
}

std::string JsonFields::path(std::string_view name) const {
  return fmt::format("{}{}{}", what_, what_.find(": ") == std::string::npos ? ": " : ".", name);
}

const json& JsonFields::member(std::string_view name) const { return object_.at(std::string(name)); }

const json& JsonFields::array(std::string_view name) const {
  require(member(name).is_array(), path(name), "must be a list");
  return member(name);
}

std::uint64_t JsonFields::number(std::string_view name, std::uint64_t most) const {
  return to_number(member(name), path(name), most);
}

double JsonFields::real(std::string_view name) const { return to_real(member(name), path(name)); }

bool JsonFields::flag(std::string_view name) const {
  require(member(name).is_boolean(), path(name), "must be true or false");
  return member(name).get<bool>();
}

std::string JsonFields::text(std::string_view name) const { return to_text(member(name), path(name)); }

std::vector<std::uint32_t> JsonFields::numbers(std::string_view name) const {
  std::vector<std::uint32_t> result;
  for (const auto& value : array(name)) {
    result.push_back(
        static_cast<std::uint32_t>(to_number(value, path(name), std::numeric_limits<std::uint32_t>::max())));
  }
  return result;
}

std::vector<double> JsonFields::reals(std::string_view name) const {
  std::vector<double> result;
  for (const auto& value : array(name)) result.push_back(to_real(value, path(name)));
  return result;
}

std::vector<std::string> JsonFields::texts(std::string_view name) const {
  std::vector<std::string> result;
  for (const auto& value : array(name)) result.push_back(to_text(value, path(name)));
  return result;
}

}  // namespace virga
