#pragma once

#include <string>

namespace virga {

/// "virga 0.1.0": who wrote a file.
[[nodiscard]] std::string created_by();

}  // namespace virga
