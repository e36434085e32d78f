#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace virga::lambda {

/// Reads the members of a JSON object that somebody else has written: each may be missing, none may be of the wrong
/// type. A member that is null is as good as missing, as some of AWS's clients write them so. What is missing leaves
/// the value as it is. Throws Error(kBadData), naming the member. The object is borrowed.
class Members {
 public:
  Members(const nlohmann::json& object, std::string path);

  [[nodiscard]] const nlohmann::json* find(const char* name) const;
  void get(const char* name, std::string& value) const;
  void get(const char* name, bool& value) const;
  void get(const char* name, std::uint64_t& value) const;
  void get(const char* name, std::uint32_t& value) const;
  void get(const char* name, std::chrono::seconds& value) const;
  void get(const char* name, std::vector<std::string>& value) const;
  void get(const char* name, std::map<std::string, std::string>& value) const;
  template <typename T>
  void get(const char* name, std::optional<T>& value) const {
    if (find(name) != nullptr) get(name, value.emplace());
  }
  /// The members of a member that is an object.
  void inside(const char* name, const std::function<void(const Members&)>& read) const;
  /// Bytes that are written in base64: in `base64` (ZipDocument), or in the member if that is empty.
  void bytes(const char* name, std::string_view base64, std::string& value) const;
  /// Appends the names of members, not empty, that are not among `known`.
  void others(std::initializer_list<std::string_view> known, std::vector<std::string>& names) const;
  /// "Code.ZipFile": for messages.
  [[nodiscard]] std::string place(std::string_view name) const;

 private:
  const nlohmann::json& object_;
  const std::string path_;
};

/// Throws Error(kBadData).
[[noreturn]] void refuse(const std::string& what);
/// Bounded in size and depth. Throws Error(kBadData).
[[nodiscard]] nlohmann::json parse_document(std::string_view text);
/// A document of megabytes, nearly all of them a function's zip in base64, which need not pass through a JSON parser.
struct ZipDocument {
  nlohmann::json document;  ///< without the zip, if that was cut out: then "ZipFile" is empty
  std::string_view base64;  ///< of `text`; empty: it was not cut out
};
/// As parse_document(). The zip, which is at `place` ("/Code/ZipFile"), is cut out if there is one place for it:
/// `"ZipFile": "` and nothing but base64 up to the next '"'. (Within a string these quotes would have a backslash.)
[[nodiscard]] ZipDocument parse_zip_document(std::string_view text, const std::string& place);
/// What is not UTF-8 is replaced.
[[nodiscard]] std::string dump(const nlohmann::json& document);

}  // namespace virga::lambda
