#include <algorithm>
#include <cctype>

#include <fmt/format.h>

#include "virga/engine/lambda_types.h"

namespace virga::lambda {
namespace {

bool is_letter(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

std::string value_at(std::string_view value, std::string_view member, std::string_view constraint) {
  return fmt::format("Value '{}' at '{}' failed to satisfy constraint: {}", value.substr(0, 200), member, constraint);
}

template <typename T>
std::optional<std::string> outside(T value, T least, T most, std::string_view member) {
  if (value < least) {
    return value_at(std::to_string(value), member,
                    fmt::format("Member must have value greater than or equal to {}", least));
  }
  if (value > most) {
    return value_at(std::to_string(value), member,
                    fmt::format("Member must have value less than or equal to {}", most));
  }
  return std::nullopt;
}

bool is_variable_name(std::string_view name) {
  return name.size() >= 2 && is_letter(name.front()) &&
         std::ranges::all_of(name, [](char c) { return is_letter(c) || is_digit(c) || c == '_'; });
}

std::optional<std::string> about_environment(const Variables& environment) {
  std::size_t bytes = 0;
  for (const auto& [name, value] : environment) {
    bytes += name.size() + value.size();
    if (!is_variable_name(name)) {
      return value_at(name, "environment.variables",
                      "Map keys must satisfy constraint: [Member must satisfy regular expression pattern: "
                      "[a-zA-Z]([a-zA-Z0-9_])+]");
    }
    if (std::ranges::find(kReservedVariables, name) != kReservedVariables.end()) {
      return fmt::format("the environment variable {} is reserved: Lambda sets it itself", name);
    }
    if (value.find('\0') != std::string::npos)
      return fmt::format("the environment variable {} holds a zero byte", name);
  }
  if (bytes > kMostEnvironmentBytes) {
    return fmt::format("the environment variables have {} bytes, but the limit is 4KB", bytes);
  }
  return std::nullopt;
}

std::optional<std::string> about_timeout(std::chrono::seconds timeout) {
  return outside(timeout.count(), kLeastTimeout.count(), kMostTimeout.count(), "timeout");
}
std::optional<std::string> about_memory(std::uint32_t megabytes) {
  return outside(megabytes, kLeastMemoryMb, kMostMemoryMb, "memorySize");
}
std::optional<std::string> about_tmp(std::uint32_t megabytes) {
  return outside(megabytes, kLeastTmpMb, kMostTmpMb, "ephemeralStorage.size");
}

std::optional<std::string> about_handler(std::string_view handler) {
  const bool has_space =
      std::ranges::any_of(handler, [](char c) { return std::isspace(static_cast<unsigned char>(c)); });
  if (!has_space && handler.size() <= kMostHandlerBytes) return std::nullopt;
  return value_at(handler, "handler", "Member must satisfy regular expression pattern: [^\\s]+, at most 128 long");
}

std::optional<std::string> about_description(std::string_view description) {
  if (description.size() <= kMostDescriptionBytes) return std::nullopt;
  return value_at(description, "description", "Member must have length less than or equal to 256");
}

std::optional<std::string> about_architectures(const std::vector<std::string>& architectures) {
  if (architectures.size() == 1 && (architectures[0] == "x86_64" || architectures[0] == "arm64")) return std::nullopt;
  return value_at(fmt::format("[{}]", fmt::join(architectures, ", ")), "architectures",
                  "Member must hold one of [x86_64, arm64]");
}

std::optional<std::string> about_zip(std::string_view zip) {
  if (zip.empty()) return "no code was given: ZipFile is missing or empty";
  if (zip.size() <= kMostZipBytes) return std::nullopt;
  return fmt::format("the zip has {} bytes, but {} is the most that can be sent", zip.size(), kMostZipBytes);
}

/// The first that objects.
template <typename... Objections>
std::optional<std::string> first(const Objections&... objections) {
  std::optional<std::string> found;
  (void)((objections ? (found = objections, true) : false) || ...);
  return found;
}

template <typename T, typename Check>
std::optional<std::string> if_given(const std::optional<T>& value, const Check& check) {
  return value ? check(*value) : std::nullopt;
}

}  // namespace

bool is_function_name(std::string_view name) noexcept {
  return !name.empty() && name.size() <= kMostNameBytes &&
         std::ranges::all_of(name, [](char c) { return is_letter(c) || is_digit(c) || c == '-' || c == '_'; });
}

std::optional<std::string> objection(const CreateFunctionRequest& r) {
  if (!is_function_name(r.function_name)) {
    return value_at(r.function_name, "functionName",
                    "Member must satisfy regular expression pattern: [a-zA-Z0-9-_]+, at most 64 long");
  }
  if (r.role.empty()) return value_at(r.role, "role", "Member must not be null");
  if (r.package_type != "Zip") return value_at(r.package_type, "packageType", "Member must be Zip");
  if (r.runtime.empty()) return value_at(r.runtime, "runtime", "Member must not be null");
  if (r.tags.size() > kMostTags) return fmt::format("{} tags were given, but {} is the most", r.tags.size(), kMostTags);
  return first(about_handler(r.handler), about_description(r.description), about_timeout(r.timeout),
               about_memory(r.memory_mb), about_tmp(r.tmp_mb), about_environment(r.environment),
               about_architectures(r.architectures), about_zip(r.zip));
}

std::optional<std::string> objection(const UpdateFunctionConfigurationRequest& r) {
  return first(if_given(r.handler, about_handler), if_given(r.description, about_description),
               if_given(r.timeout, about_timeout), if_given(r.memory_mb, about_memory), if_given(r.tmp_mb, about_tmp),
               if_given(r.environment, about_environment));
}

std::optional<std::string> objection(const UpdateFunctionCodeRequest& r) {
  return first(if_given(r.architectures, about_architectures), about_zip(r.zip));
}

}  // namespace virga::lambda
