#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "virga/base/array.h"

namespace virga {

/// A decoded group of rows (1,000 by default): what blocks consist of and what mini-batches are cut from. Immutable
/// once it is shared.
///
/// Sparse rows are in compressed row form. The group has a dictionary of its own, `keys`: the ids of the features that
/// occur in it, ascending and unique; an entry is an index into that dictionary. Within a row the indices ascend
/// strictly. Dense rows are a row-major matrix.
struct RowGroup {
  std::uint32_t rows = 0;
  bool dense = false;

  // Sparse rows.
  Array<std::uint32_t> keys;             ///< [dictionary]
  std::vector<std::uint32_t> row_begin;  ///< [rows + 1] into indices and values
  Array<std::uint16_t> indices16;        ///< [non-zeros] if keys.size() <= 65536, else empty
  Array<std::uint32_t> indices32;        ///< [non-zeros] otherwise
  Array<float> values;                   ///< [non-zeros]; empty: all values are 1

  // Dense rows.
  std::uint32_t columns = 0;
  Array<float> matrix;  ///< [rows x columns]

  std::vector<float> labels;   ///< [rows]; class number 0, 1, ... or the regression target
  std::vector<float> weights;  ///< [rows]; empty: all weights are 1

  [[nodiscard]] bool wide() const noexcept { return keys.size() > 65536; }
  [[nodiscard]] std::size_t nonzeros() const noexcept {
    return dense ? matrix.size() : row_begin.empty() ? 0 : row_begin.back();
  }
  [[nodiscard]] std::uint32_t index(std::size_t entry) const noexcept {
    return wide() ? indices32[entry] : indices16[entry];
  }
  bool operator==(const RowGroup&) const = default;
};

using RowGroupPtr = std::shared_ptr<const RowGroup>;

}  // namespace virga
