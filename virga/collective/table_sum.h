#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace virga {

/// One rank's part of a table, borrowed. Sparse: keys ascending and unique, values [keys x width]. Of a table of
/// doubles the values are in `doubles`.
struct SparsePart {
  std::span<const std::uint32_t> keys = {};
  std::span<const float> values = {};
  std::span<const double> doubles = {};
};

/// The rows of `part` whose keys are in [first, last).
[[nodiscard]] SparsePart key_range(const SparsePart& part, std::size_t width, std::uint64_t first, std::uint64_t last);

/// Sums tables over ranks in the order of tree_sum. A rank that has nothing for a key (or, of a whole table, no values
/// at all) adds nothing, not a zero. Keeps scratch memory of a few times the result; for one thread.
class TableSum {
 public:
  /// parts[r]: that of rank r. The result is valid until the next call or the parts end, whichever is first.
  [[nodiscard]] SparsePart sparse(std::vector<SparsePart>& parts, std::size_t width);
  /// parts[r]: values of rank r, of one size or none.
  [[nodiscard]] std::span<const float> whole(std::vector<std::span<const float>>& parts);
  [[nodiscard]] std::span<const double> whole(std::vector<std::span<const double>>& parts);

 private:
  struct Buffer {
    std::vector<std::uint32_t> keys;
    std::vector<float> values;
    std::vector<double> doubles;
  };
  template <typename T>
  [[nodiscard]] std::span<const T> whole_of(std::vector<std::span<const T>>& parts);
  [[nodiscard]] Buffer& next_buffer(std::size_t keys);
  void add(SparsePart& left, const SparsePart& right, std::size_t width);
  template <typename T>
  void add(std::span<const T>& left, std::span<const T> right);

  std::vector<Buffer> buffers_;  // one for each addition of a sum
  std::size_t used_ = 0;
};

}  // namespace virga
