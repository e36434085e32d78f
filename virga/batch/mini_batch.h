#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "virga/batch/row_group.h"

namespace virga {

/// Consecutive rows of one group, and where the features that occur in them stand in the mini-batch's own keys.
/// Kernels compute in the group's local index space (small, 16-bit indices) and translate once a key, not once an
/// entry.
struct BatchSlice {
  RowGroupPtr group;
  std::uint32_t first_row = 0;
  std::uint32_t last_row = 0;  ///< one past the end

  /// All of the group's dictionary occurs in these rows; then `used` is empty.
  bool all_used = false;
  /// Otherwise: the local indices that occur in these rows, ascending; none for rows without entries.
  Array<std::uint32_t> used;
  /// positions[i] = index in MiniBatch::keys of the i-th used local index; empty: i itself.
  Array<std::uint32_t> positions;

  [[nodiscard]] std::uint32_t rows() const noexcept { return last_row - first_row; }
};

/// What one rank computes on in one round: any number of rows, in order, from one or more groups. Dense groups have no
/// keys.
struct MiniBatch {
  std::vector<BatchSlice> slices;
  Array<std::uint32_t> keys;  ///< exactly the features that occur, ascending and unique
  std::uint64_t rows = 0;
};

/// A range of rows of one group.
struct RowRange {
  RowGroupPtr group;
  std::uint32_t first_row = 0;
  std::uint32_t last_row = 0;
};

/// Builds mini-batches: finds the keys that occur and translates each group's dictionary. Keeps scratch memory between
/// calls (two bits a feature at most, and only if mini-batches span more than two groups), so one for each thread.
class BatchAssembler {
 public:
  /// `features`: number of columns of the data set, above all keys.
  explicit BatchAssembler(std::uint32_t features) : features_(features) {}

  /// The rows of `ranges` in their order. Ranges of no rows are left out.
  [[nodiscard]] MiniBatch assemble(std::span<const RowRange> ranges);

 private:
  [[nodiscard]] std::span<const std::uint32_t> find_used(BatchSlice& slice, std::vector<std::uint32_t>& scratch);
  void merge_two(MiniBatch& batch);
  void merge_by_bitmap(MiniBatch& batch);
  void merge_by_sorting(MiniBatch& batch);

  std::uint32_t features_;
  std::vector<std::uint8_t> flags_;                   // [local index]: occurs; all zero between calls
  std::vector<std::uint32_t> used_;                   // its local indices that occur
  std::vector<std::uint32_t> merged_;                 // the keys of two slices
  std::vector<std::vector<std::uint32_t>> scratch_;   // [slice] the keys of slices that use part of their dictionary
  std::vector<std::span<const std::uint32_t>> keys_;  // [slice] the keys that it uses
  std::vector<std::uint64_t> seen_;                   // bitmap of features; all zero between calls
  std::vector<std::uint64_t> odd_;                    // the same, of every second feature of a slice
  std::vector<std::uint32_t> rank_;                   // [words of seen_] number of keys before a word
};

}  // namespace virga
