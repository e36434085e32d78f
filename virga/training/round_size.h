#pragma once

#include <cstdint>

#include "virga/collective/pattern_choice.h"
#include "virga/data/manifest.h"
#include "virga/training/plan.h"

namespace virga {

/// How many different keys so many non-zeros have, as the set's histogram says (Manifest::key_quantiles): in a stretch
/// of n keys that has the share q of all non-zeros, n (1 - exp(-entries q / n)), as if all keys of a stretch were alike
/// and non-zeros drawn one by one. Without a histogram all keys are one stretch. Where a hash has scattered frequent
/// keys among rare ones, this is too many: of click logs hashed into 2^20 columns, 4.6 times, in batches of 4,000 rows.
[[nodiscard]] double expected_keys(const Manifest& manifest, double entries);

/// What the workers of a job are expected to add up when they synchronise: in a round or, of workers that step by
/// themselves, at the end of a period. Of sparse tables four bytes a value, and two a key.
[[nodiscard]] RoundSize expected_round_size(const TrainingPlan& plan, const Manifest& manifest,
                                            std::uint64_t rounds_per_epoch);

}  // namespace virga
