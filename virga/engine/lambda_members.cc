#include "virga/engine/lambda_members.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/engine/lambda_limits.h"
#include "virga/net/sigv4.h"

namespace virga::lambda {
namespace {

using nlohmann::json;

constexpr int kMostDepth = 16;

}  // namespace

void refuse(const std::string& what) { throw Error(ErrorKind::kBadData, what); }

Members::Members(const json& object, std::string path) : object_(object), path_(std::move(path)) {
  if (!object.is_object()) refuse(fmt::format("{} is not an object", path_.empty() ? "the document" : path_));
}

const json* Members::find(const char* name) const {
  const auto at = object_.find(name);
  return at == object_.end() || at->is_null() ? nullptr : &*at;
}

std::string Members::place(std::string_view name) const {
  return path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name);
}

void Members::get(const char* name, std::string& value) const {
  const auto* at = find(name);
  if (at == nullptr) return;
  if (!at->is_string()) refuse(place(name) + " is not a string");
  value = at->get<std::string>();
}

void Members::get(const char* name, bool& value) const {
  const auto* at = find(name);
  if (at == nullptr) return;
  if (!at->is_boolean()) refuse(place(name) + " is not true or false");
  value = at->get<bool>();
}

void Members::get(const char* name, std::uint64_t& value) const {
  const auto* at = find(name);
  if (at == nullptr) return;
  if (!at->is_number_unsigned()) refuse(place(name) + " is not a whole number");
  value = at->get<std::uint64_t>();
}

void Members::get(const char* name, std::uint32_t& value) const {
  std::uint64_t wide = value;
  get(name, wide);
  if (wide > std::numeric_limits<std::uint32_t>::max()) refuse(fmt::format("{} is too large: {}", place(name), wide));
  value = static_cast<std::uint32_t>(wide);
}

void Members::get(const char* name, std::chrono::seconds& value) const {
  auto count = static_cast<std::uint32_t>(value.count());
  get(name, count);
  value = std::chrono::seconds(count);
}

void Members::get(const char* name, std::vector<std::string>& value) const {
  const auto* at = find(name);
  if (at == nullptr) return;
  value.clear();
  if (!at->is_array()) refuse(place(name) + " is not an array");
  for (const auto& item : *at) {
    if (!item.is_string()) refuse(place(name) + " holds what is not a string");
    value.push_back(item.get<std::string>());
  }
}

void Members::get(const char* name, std::map<std::string, std::string>& value) const {
  const auto* at = find(name);
  if (at == nullptr) return;
  value.clear();
  if (!at->is_object()) refuse(place(name) + " is not an object");
  for (const auto& [key, item] : at->items()) {
    if (!item.is_string()) refuse(fmt::format("{}.{} is not a string", place(name), key.substr(0, 100)));
    value.emplace(key, item.get<std::string>());
  }
}

void Members::inside(const char* name, const std::function<void(const Members&)>& read) const {
  if (const auto* at = find(name)) read(Members(*at, place(name)));
}

void Members::bytes(const char* name, std::string_view base64, std::string& value) const {
  std::string text;
  get(name, text);
  try {
    value = base64_decode(base64.empty() ? text : base64);
  } catch (const Error&) {
    refuse(place(name) + " is not base64");
  }
}

void Members::others(std::initializer_list<std::string_view> known, std::vector<std::string>& names) const {
  for (const auto& [name, value] : object_.items()) {
    const bool is_empty =
        value.is_null() || (value.is_structured() && value.empty()) || value == json("") || value == json(false);
    if (!is_empty && std::ranges::find(known, name) == known.end()) names.push_back(place(name.substr(0, 100)));
  }
}

json parse_document(std::string_view text) {
  if (text.size() > kMostApiRequestBytes) {
    refuse(fmt::format("the document has {} bytes, but {} is the most", text.size(), kMostApiRequestBytes));
  }
  const auto watch = [](int depth, json::parse_event_t, json&) {
    if (depth > kMostDepth) refuse(fmt::format("the document is nested more than {} deep", kMostDepth));
    return true;
  };
  auto document = json::parse(text, watch, /*allow_exceptions=*/false);
  if (document.is_discarded()) refuse("the document is not JSON");
  return document;
}

ZipDocument parse_zip_document(std::string_view text, const std::string& place) {
  constexpr std::string_view kName = "\"ZipFile\"";
  constexpr std::string_view kBlank = " \t\r\n";
  constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
  const auto whole = [&] { return ZipDocument{.document = parse_document(text), .base64 = {}}; };
  const auto name = text.find(kName);
  if (name == std::string_view::npos || text.size() > kMostApiRequestBytes) return whole();
  const auto colon = text.find_first_not_of(kBlank, name + kName.size());
  if (colon == std::string_view::npos || text[colon] != ':') return whole();
  const auto quote = text.find_first_not_of(kBlank, colon + 1);
  if (quote == std::string_view::npos || text[quote] != '"') return whole();
  const auto begin = quote + 1;
  const auto end = text.find('"', begin);
  if (end == std::string_view::npos || text.find(kName, end) != std::string_view::npos) return whole();
  const auto base64 = text.substr(begin, end - begin);
  if (base64.find_first_not_of(kBase64) != std::string_view::npos) return whole();
  auto document = parse_document(std::string(text.substr(0, begin)) + std::string(text.substr(end)));
  const json::json_pointer at(place);
  // It may have been a variable of that name.
  if (!document.contains(at) || document[at] != json("")) return whole();
  return {.document = std::move(document), .base64 = base64};
}

std::string dump(const json& document) { return document.dump(-1, ' ', false, json::error_handler_t::replace); }

}  // namespace virga::lambda
