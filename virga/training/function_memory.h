#pragma once

#include <cstdint>

#include "virga/collective/all_reduce.h"
#include "virga/data/group_cache.h"
#include "virga/data/manifest.h"
#include "virga/training/plan.h"

namespace virga {

/// What a function does with its memory: the rest after `needed_bytes` is for rows.
struct FunctionMemory {
  std::uint64_t needed_bytes = 0;    ///< at the largest, but for the two below
  std::uint64_t cache_bytes = 0;     ///< for decoded rows that are kept
  std::uint64_t prefetch_bytes = 0;  ///< for mini-batches that are ready
};

/// Divides `limit_bytes` of a worker. An upper bound of what it needs is known before it starts: program, manifest,
/// parameters and state with their copies on the way to a checkpoint, what a round exchanges, mini-batches. A pure
/// function. `keeps_messages`: workers themselves hold messages until they are retired. Throws Error(kTooLarge), which
/// says what would be enough.
[[nodiscard]] FunctionMemory worker_memory(const TrainingPlan& plan, Pattern pattern, const Manifest& manifest,
                                           std::uint64_t limit_bytes, bool keeps_messages = false);

/// For decoded rows that one rank sees once, two threads taking its rounds by turns: so many that a group which two
/// mini-batches cut is decoded once, too. 0 where none is cut.
[[nodiscard]] std::uint64_t one_pass_cache_bytes(const TrainingPlan& plan, const Manifest& manifest);

/// worker_memory() for a function that evaluates snapshots on a split.
[[nodiscard]] FunctionMemory evaluation_memory(const TrainingPlan& plan, const Manifest& manifest, SplitName split,
                                               std::uint64_t limit_bytes);

}  // namespace virga
