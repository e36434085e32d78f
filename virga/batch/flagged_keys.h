#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace virga {

/// Elements that the outputs of flagged_keys() must have beyond those for all keys.
constexpr std::size_t kFlaggedKeysSlack = 16;

/// Which of `keys` are flagged: their indices to `used` and themselves to `used_keys`, in their order; returns how
/// many. Flags are 0 or 1. Both outputs have room for all keys and kFlaggedKeysSlack more, which may be written.
[[nodiscard]] std::size_t flagged_keys(std::span<const std::uint8_t> flags, std::span<const std::uint32_t> keys,
                                       std::span<std::uint32_t> used, std::span<std::uint32_t> used_keys) noexcept;

/// The same where the processor has no AVX-512.
[[nodiscard]] std::size_t flagged_keys_plain(std::span<const std::uint8_t> flags, std::span<const std::uint32_t> keys,
                                             std::span<std::uint32_t> used,
                                             std::span<std::uint32_t> used_keys) noexcept;

}  // namespace virga
