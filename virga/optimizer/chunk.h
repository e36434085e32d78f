#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace virga {

/// Some parameters with the state of their update rule, gathered so that loops over them vectorise.
struct Chunk {
  static constexpr std::size_t kElements = 256;
  std::size_t rows = 0;
  std::size_t columns = 0;                                 ///< row r, column c is element r * columns + c
  alignas(64) std::array<float, kElements> w;              ///< parameters
  alignas(64) std::array<float, kElements> s1;             ///< first state, if the rule has one
  alignas(64) std::array<float, kElements> s2;             ///< second state
  alignas(64) std::array<std::int32_t, kElements> behind;  ///< untouched steps that are still to be done, below 2^31

  [[nodiscard]] std::size_t size() const noexcept { return rows * columns; }
};

}  // namespace virga
