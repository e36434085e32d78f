#pragma once

#include <functional>
#include <optional>
#include <string>

namespace virga {

/// Looks up an environment variable: its value, or nothing if it is not set. Any thread may call it.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

/// That of this process, which nobody changes any more.
[[nodiscard]] Environment process_environment();

}  // namespace virga
