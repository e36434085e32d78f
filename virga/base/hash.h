#pragma once

#include <cstdint>
#include <string_view>

#include "virga/base/bytes.h"

namespace virga {

/// MurmurHash3_x86_32 (Austin Appleby): the feature hash, seed 0, of `column=value`.
[[nodiscard]] std::uint32_t murmur3_x86_32(std::string_view text, std::uint32_t seed = 0) noexcept;

/// CRC-32C (Castagnoli; RFC 3720), of `bytes` appended to what gave `crc`. Uses SSE 4.2 where the processor has it.
[[nodiscard]] std::uint32_t crc32c(ByteView bytes, std::uint32_t crc = 0) noexcept;

}  // namespace virga
