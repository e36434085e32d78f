#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace virga {

/// Reads the members of a JSON object that may be damaged: each must be there with the right type and range, and none
/// that is not known. Throws Error(kCorrupt), naming the member. The object is borrowed.
class JsonFields {
 public:
  JsonFields(const nlohmann::json& object, std::string what, std::initializer_list<std::string_view> names);

  [[nodiscard]] std::uint64_t number(std::string_view name, std::uint64_t most) const;
  template <std::unsigned_integral T>
  [[nodiscard]] T number(std::string_view name) const {
    return static_cast<T>(number(name, std::numeric_limits<T>::max()));
  }
  [[nodiscard]] double real(std::string_view name) const;  ///< finite
  [[nodiscard]] bool flag(std::string_view name) const;
  [[nodiscard]] std::string text(std::string_view name) const;  ///< unescaped (escape.h)
  [[nodiscard]] const nlohmann::json& array(std::string_view name) const;
  [[nodiscard]] const nlohmann::json& member(std::string_view name) const;

  [[nodiscard]] std::vector<std::uint32_t> numbers(std::string_view name) const;
  [[nodiscard]] std::vector<double> reals(std::string_view name) const;
  [[nodiscard]] std::vector<std::string> texts(std::string_view name) const;

  /// "manifest.json: encoding.features": for messages.
  [[nodiscard]] std::string path(std::string_view name) const;

 private:
  const nlohmann::json& object_;
  std::string what_;
};

}  // namespace virga
