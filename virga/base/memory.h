#pragma once

#include <cstdint>

namespace virga {

/// Bytes that this process may use: the machine's, or less when its control group (version 2, or 1) says so.
[[nodiscard]] std::uint64_t memory_limit();

}  // namespace virga
