#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "virga/base/error.h"

namespace virga {

/// JSON that may be anything, nested at most 8 deep. Throws Error(`kind`), naming `what`.
[[nodiscard]] nlohmann::json parse_small_json(std::string_view text, const std::string& what, ErrorKind kind);

/// Reads the members of an object: each must be there, of its type and within its bounds, and none that is not known.
/// Throws Error(`kind`), naming the member. The object is borrowed.
class JsonReader {
 public:
  JsonReader(const nlohmann::json& object, std::string what, ErrorKind kind,
             std::initializer_list<std::string_view> names);

  [[nodiscard]] std::uint64_t count(std::string_view name, std::uint64_t least, std::uint64_t most) const;
  /// From 0 to `most`.
  [[nodiscard]] double real(std::string_view name, double most) const;
  [[nodiscard]] bool flag(std::string_view name) const;
  [[nodiscard]] std::string text(std::string_view name, std::size_t least_bytes, std::size_t most_bytes) const;
  [[nodiscard]] const nlohmann::json& object(std::string_view name) const;
  /// "prices.json: lambda.granularity_ms".
  [[nodiscard]] std::string path(std::string_view name) const;
  [[noreturn]] void refuse(std::string_view name, std::string_view reason) const;

 private:
  [[nodiscard]] const nlohmann::json& member(std::string_view name) const;

  const nlohmann::json& object_;
  std::string what_;
  ErrorKind kind_;
};

}  // namespace virga
