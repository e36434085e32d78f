#include "virga/base/environment.h"

#include <cstdlib>

namespace virga {

Environment process_environment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());  // NOLINT(concurrency-mt-unsafe): nobody writes to it
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  };
}

}  // namespace virga
