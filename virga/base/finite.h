#pragma once

#include <bit>
#include <cstdint>
#include <span>

namespace virga {

/// Is none of them infinite or not a number?
[[nodiscard]] inline bool all_finite(std::span<const float> values) noexcept {
  // An exponent of all ones is one of these. No branch, so that it becomes vector code.
  std::uint32_t found = 0;
  for (const float value : values) {
    found |= static_cast<std::uint32_t>((std::bit_cast<std::uint32_t>(value) & 0x7F800000U) == 0x7F800000U);
  }
  return found == 0;
}

}  // namespace virga
