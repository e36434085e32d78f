#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "virga/base/random.h"
#include "virga/batch/mini_batch.h"
#include "virga/math/kernels.h"
#include "virga/model/model.h"

namespace virga {

// What models of rows in clusters have in common.

inline constexpr std::uint32_t kSumLanes = 16;

[[nodiscard]] constexpr std::uint32_t rounded_up(std::uint32_t count) noexcept {
  return (count + kSumLanes - 1) / kSumLanes * kSumLanes;
}

/// Some rows of a group.
struct ClusterRange {
  const RowGroup& group;
  std::uint32_t first;
  std::uint32_t last;
  [[nodiscard]] std::uint32_t count() const noexcept { return last - first; }
};

[[nodiscard]] inline SparseRows sparse_rows_of(const ClusterRange& rows) noexcept {
  const auto& group = rows.group;
  return {.rows = rows.count(),
          .row_begin = group.row_begin.data() + rows.first,
          .indices16 = group.wide() ? nullptr : group.indices16.data(),
          .indices32 = group.wide() ? group.indices32.data() : nullptr,
          .values = group.values.empty() ? nullptr : group.values.data()};
}

/// Null if all are 1.
[[nodiscard]] inline const float* weights_from(const RowGroup& group, std::uint32_t first) noexcept {
  return group.weights.empty() ? nullptr : group.weights.data() + first;
}

[[nodiscard]] inline double weight_of(const float* weights, std::uint32_t row) noexcept {
  return weights == nullptr ? 1 : static_cast<double>(weights[row]);
}

/// Where the keys of a slice's group stand in the mini-batch's; those that the slice does not use are left as they
/// were. `scratch` has the result, too.
inline const std::uint32_t* positions_of(const BatchSlice& slice, std::vector<std::uint32_t>& scratch) {
  const auto count = slice.group->keys.size();
  if (scratch.size() < count) scratch.resize(count);
  const auto position = [&](std::size_t u) {
    return slice.positions.empty() ? static_cast<std::uint32_t>(u) : slice.positions[u];
  };
  if (slice.all_used) {
    for (std::size_t u = 0; u < count; ++u) scratch[u] = position(u);
  } else {
    for (std::size_t u = 0; u < slice.used.size(); ++u) scratch[slice.used[u]] = position(u);
  }
  return scratch.data();
}

/// Draw 0 of these random numbers is for the first centres.
inline constexpr std::uint32_t kSplitDraw = 1;

/// centres [features x clusters]: cluster `empty` is put beside `full`, which goes as far to the other side: by
/// distance(feature) up or down, as the random numbers say.
template <typename Distance>
void move_apart(const ModelSpec& spec, const Random& random, std::uint32_t epoch, std::size_t full, std::size_t empty,
                Distance distance, std::vector<float>& centres) {
  const std::size_t k = spec.clusters;
  for (std::size_t f = 0; f < spec.features; ++f) {
    const auto mean = double{centres[f * k + full]};
    const bool down = (random.bits(epoch, f * k + empty, kSplitDraw) & 1) != 0;
    const double by = down ? -distance(f) : distance(f);
    centres[f * k + empty] = static_cast<float>(mean + by);
    centres[f * k + full] = static_cast<float>(mean - by);
  }
}

}  // namespace virga
