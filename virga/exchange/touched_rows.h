#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

namespace virga {

/// A set of rows of one table: a bitmap.
class TouchedRows {
 public:
  explicit TouchedRows(std::uint32_t rows = 0) : words_((std::size_t{rows} + kBits - 1) / kBits) {}

  /// Adds `keys`, each below the number of rows.
  void add(std::span<const std::uint32_t> keys) noexcept {
    for (const auto key : keys) words_[key / kBits] |= std::uint64_t{1} << (key % kBits);
  }
  /// All, ascending.
  [[nodiscard]] std::vector<std::uint32_t> keys() const {
    std::size_t count = 0;
    for (const auto word : words_) count += static_cast<std::size_t>(std::popcount(word));
    std::vector<std::uint32_t> keys;
    keys.reserve(count);
    for (std::size_t w = 0; w < words_.size(); ++w) {
      for (auto word = words_[w]; word != 0; word &= word - 1) {
        keys.push_back(static_cast<std::uint32_t>(w * kBits + static_cast<std::size_t>(std::countr_zero(word))));
      }
    }
    return keys;
  }
  void clear() noexcept { words_.assign(words_.size(), 0); }

 private:
  static constexpr std::size_t kBits = 64;
  std::vector<std::uint64_t> words_;
};

}  // namespace virga
