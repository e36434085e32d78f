#pragma once

#include <vector>

#include "virga/optimizer/chunk.h"
#include "virga/optimizer/rules.h"

namespace virga {

/// Vectors that a rule's loops are compiled for. All give the same bits.
enum class VectorWidth { k128, k256, k512 };

/// Those that this machine has, ascending.
[[nodiscard]] std::vector<VectorWidth> vector_widths();

/// The loops of one rule.
template <typename Rule>
struct ChunkKernels {
  void (*catch_up)(const Rule& rule, Chunk& chunk) noexcept;
  void (*step)(const Rule& rule, Chunk& chunk, const float* gradient) noexcept;
};

/// For SgdRule, MomentumRule, AdagradRule, AdamRule. The machine must have `width`.
template <typename Rule>
[[nodiscard]] ChunkKernels<Rule> chunk_kernels(VectorWidth width) noexcept;

}  // namespace virga
