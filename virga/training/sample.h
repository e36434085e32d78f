#pragma once

#include <cstdint>
#include <vector>

#include "virga/batch/mini_batch.h"
#include "virga/data/group_cache.h"

namespace virga {

/// `wanted` training rows, or all if there are fewer: whole groups in seeded random order, the last one cut. A pure
/// function of data, seed and number. Throws what reading throws.
[[nodiscard]] std::vector<RowRange> draw_sample(GroupCache& cache, std::uint64_t seed, std::uint64_t wanted);

}  // namespace virga
