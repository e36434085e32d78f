#pragma once

#include <cstddef>
#include <span>

namespace virga {

/// Adds parts [0] ... [n-1] over the balanced binary tree of adjacent parts: ((p0 + p1) + (p2 + p3)) + ..., a last part
/// without a neighbour moving up as it is. Every protocol sums over ranks in this order, so that all give the same
/// bits. `add(left, right)` leaves the sum in `left`. The result is in parts[0]; the others are unspecified.
template <typename Part, typename Add>
void tree_sum(std::span<Part> parts, const Add& add) {
  for (std::size_t distance = 1; distance < parts.size(); distance *= 2) {
    for (std::size_t i = 0; i + distance < parts.size(); i += 2 * distance) add(parts[i], parts[i + distance]);
  }
}

}  // namespace virga
