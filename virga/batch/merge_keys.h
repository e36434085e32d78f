#pragma once

#include <cstdint>
#include <span>

namespace virga {

/// The union of two sorted lists, and where the items of each stand in it. `a` and `b` ascend strictly.
/// keys: [a.size() + b.size()], of which the first `return value` are the union, ascending; the rest is unspecified.
/// places_a: [a.size()], places_b: [b.size()]; keys[places_a[i]] == a[i], keys[places_b[j]] == b[j].
[[nodiscard]] std::uint32_t merge_keys(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b,
                                       std::span<std::uint32_t> keys, std::span<std::uint32_t> places_a,
                                       std::span<std::uint32_t> places_b) noexcept;

}  // namespace virga
