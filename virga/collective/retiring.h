#pragma once

#include <cstdint>

namespace virga {

// A member retires its messages when so many of them, or of so many rounds, are no longer needed: each time costs a
// request, so not for little.
inline constexpr std::uint64_t kMostUnretiredBytes = std::uint64_t{4} << 20;
inline constexpr std::uint64_t kMostUnretiredRounds = 64;

}  // namespace virga
