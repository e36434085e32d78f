#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "virga/base/memory.h"
#include "virga/optimizer/chunk.h"

namespace virga {

/// The rows of one table, each with the states of the update rule and the step that it has been brought to, side by
/// side: touching a row of one parameter touches one cache line. A row is [w: width][s1: width][s2: width][step], of
/// which a rule has what it needs; `step` is there if rows can be behind.
class PackedRows {
 public:
  PackedRows(std::size_t rows, std::size_t width, std::size_t states, bool lazy)
      : rows_(rows), width_(width), states_(states), lazy_(lazy), stride_(stride_of(width, states, lazy)) {
    words_.resize(rows * stride_);
  }

  [[nodiscard]] std::size_t rows() const noexcept { return rows_; }
  [[nodiscard]] std::size_t width() const noexcept { return width_; }
  [[nodiscard]] std::size_t states() const noexcept { return states_; }
  [[nodiscard]] bool lazy() const noexcept { return lazy_; }

  /// A row's words; array 0 holds its parameters, array 1 and 2 its states.
  [[nodiscard]] std::uint32_t* row(std::size_t r) noexcept { return words_.data() + r * stride_; }
  [[nodiscard]] const std::uint32_t* row(std::size_t r) const noexcept { return words_.data() + r * stride_; }
  [[nodiscard]] std::uint32_t* array(std::size_t r, std::size_t which) noexcept { return row(r) + which * width_; }
  [[nodiscard]] const std::uint32_t* array(std::size_t r, std::size_t which) const noexcept {
    return row(r) + which * width_;
  }
  /// Where the step of a row is, if lazy.
  [[nodiscard]] std::size_t step_offset() const noexcept { return (1 + states_) * width_; }
  [[nodiscard]] std::size_t stride() const noexcept { return stride_; }

  /// Three words are padded to four, so that no row of one parameter lies in two cache lines.
  [[nodiscard]] static constexpr std::size_t stride_of(std::size_t width, std::size_t states, bool lazy) noexcept {
    const std::size_t words = (1 + states) * width + (lazy ? 1 : 0);
    return words == 3 ? 4 : words;
  }

 private:
  std::size_t rows_, width_, states_;
  bool lazy_;
  std::size_t stride_;
  std::vector<std::uint32_t, ZeroedAllocator<std::uint32_t>> words_;  // floats by their bits
};

/// What one Chunk takes of a list of rows: all columns of some, or some columns of one.
struct Part {
  std::size_t first = 0;  ///< row in the list
  std::size_t rows = 0;
  std::size_t first_column = 0;
  std::size_t columns = 0;
};

/// Calls visit(part) for the parts of a list of `rows` rows, of which columns [first, last) count.
template <typename Visit>
void for_each_part(std::size_t rows, std::size_t first, std::size_t last, const Visit& visit) {
  const std::size_t columns = std::min(last - first, Chunk::kElements);
  if (columns == 0) return;
  const std::size_t step = Chunk::kElements / columns;
  for (std::size_t row = 0; row < rows; row += step) {
    for (std::size_t column = first; column < last; column += columns) {
      visit(Part{row, std::min(step, rows - row), column, std::min(columns, last - column)});
    }
  }
}

/// The same, the last rows first: what was touched last is the likeliest to be in a cache still.
template <typename Visit>
void for_each_part_backwards(std::size_t rows, std::size_t width, const Visit& visit) {
  const std::size_t columns = std::min(width, Chunk::kElements);
  if (columns == 0) return;
  const std::size_t step = Chunk::kElements / columns;
  for (std::size_t end = (rows + step - 1) / step * step; end > 0; end -= step) {
    const std::size_t row = end - step;
    for (std::size_t column = 0; column < width; column += columns) {
      visit(Part{row, std::min(step, rows - row), column, std::min(columns, width - column)});
    }
  }
}

/// A list of rows: those of `keys`, or `count` from `first` on.
struct KeyedRows {
  std::span<const std::uint32_t> keys;
  static constexpr bool kScattered = true;
  [[nodiscard]] std::size_t operator[](std::size_t i) const noexcept { return keys[i]; }
  [[nodiscard]] std::size_t size() const noexcept { return keys.size(); }
};
struct AllRows {
  std::size_t first = 0;
  std::size_t count = 0;
  static constexpr bool kScattered = false;
  [[nodiscard]] std::size_t operator[](std::size_t i) const noexcept { return first + i; }
  [[nodiscard]] std::size_t size() const noexcept { return count; }
};

/// Asks for the rows of a part of `list`, which will be written.
template <typename List>
void prefetch(const PackedRows& rows, const List& list, const Part& part) noexcept {
  if (!List::kScattered || rows.width() > 1) return;
  for (std::size_t i = part.first; i < part.first + part.rows; ++i) __builtin_prefetch(rows.row(list[i]), 1);
}

/// Copies a part of `list` into `chunk`; `step` is where its rows are to be brought.
template <std::size_t kStates, bool kLazy, typename List>
void gather(const PackedRows& rows, const List& list, const Part& part, std::uint32_t step, Chunk& chunk) noexcept {
  // Rows come from the third-level cache or memory, after what the processor asks for their pages: early.
  constexpr std::size_t kAhead = 96;
  chunk.rows = part.rows;
  chunk.columns = part.columns;
  const std::size_t last = part.first + part.rows;
  if (rows.width() == 1) {
    constexpr std::size_t kStride = PackedRows::stride_of(1, kStates, kLazy);
    const std::uint32_t* words = rows.row(0);
#pragma GCC unroll 8
    for (std::size_t i = part.first, to = 0; i < last; ++i, ++to) {
      if (List::kScattered && i + kAhead < list.size()) __builtin_prefetch(words + list[i + kAhead] * kStride, 1);
      const std::uint32_t* row = words + list[i] * kStride;
      chunk.w[to] = std::bit_cast<float>(row[0]);
      if constexpr (kStates > 0) chunk.s1[to] = std::bit_cast<float>(row[1]);
      if constexpr (kStates > 1) chunk.s2[to] = std::bit_cast<float>(row[2]);
      if constexpr (kLazy) chunk.behind[to] = static_cast<std::int32_t>(step - row[1 + kStates]);
    }
    return;
  }
  for (std::size_t i = part.first, to = 0; i < last; ++i) {
    const std::uint32_t* row = rows.row(list[i]);
    const std::uint32_t* w = row + part.first_column;
    const auto behind = kLazy ? static_cast<std::int32_t>(step - row[rows.step_offset()]) : 0;
    for (std::size_t c = 0; c < part.columns; ++c, ++to) {
      chunk.w[to] = std::bit_cast<float>(w[c]);
      if constexpr (kStates > 0) chunk.s1[to] = std::bit_cast<float>(w[rows.width() + c]);
      if constexpr (kStates > 1) chunk.s2[to] = std::bit_cast<float>(w[2 * rows.width() + c]);
      if constexpr (kLazy) chunk.behind[to] = behind;
    }
  }
}

/// Copies `chunk` back to where it came from, and notes that its rows now stand before `step`. With kFetch it asks for
/// rows of one parameter some time before it comes to them: for a list whose rows are in no cache.
template <std::size_t kStates, bool kLazy, bool kFetch = false, typename List>
void scatter(PackedRows& rows, const List& list, const Part& part, std::uint32_t step, const Chunk& chunk) noexcept {
  constexpr std::size_t kAhead = 32;  // further ahead is no better
  const std::size_t last = part.first + part.rows;
  if (rows.width() == 1) {
    constexpr std::size_t kStride = PackedRows::stride_of(1, kStates, kLazy);
    std::uint32_t* words = rows.row(0);
#pragma GCC unroll 8
    for (std::size_t i = part.first, from = 0; i < last; ++i, ++from) {
      if (kFetch && List::kScattered && i + kAhead < list.size())
        __builtin_prefetch(words + list[i + kAhead] * kStride, 1);
      std::uint32_t* row = words + list[i] * kStride;
      row[0] = std::bit_cast<std::uint32_t>(chunk.w[from]);
      if constexpr (kStates > 0) row[1] = std::bit_cast<std::uint32_t>(chunk.s1[from]);
      if constexpr (kStates > 1) row[2] = std::bit_cast<std::uint32_t>(chunk.s2[from]);
      if constexpr (kLazy) row[1 + kStates] = step;
    }
    return;
  }
  const bool row_ends = part.first_column + part.columns == rows.width();
  for (std::size_t i = part.first, from = 0; i < last; ++i) {
    std::uint32_t* row = rows.row(list[i]);
    std::uint32_t* w = row + part.first_column;
    for (std::size_t c = 0; c < part.columns; ++c, ++from) {
      w[c] = std::bit_cast<std::uint32_t>(chunk.w[from]);
      if constexpr (kStates > 0) w[rows.width() + c] = std::bit_cast<std::uint32_t>(chunk.s1[from]);
      if constexpr (kStates > 1) w[2 * rows.width() + c] = std::bit_cast<std::uint32_t>(chunk.s2[from]);
    }
    if (kLazy && row_ends) row[rows.step_offset()] = step;
  }
}

}  // namespace virga
