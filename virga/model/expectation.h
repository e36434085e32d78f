#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "virga/batch/table.h"
#include "virga/model/model.h"

namespace virga {

// Expectation maximisation of the models that has_clusters() names.

/// What Model::gradient() sums over all rows, in doubles.
[[nodiscard]] Layout statistics_layout(const ModelSpec& spec);

/// The step of maximisation. `statistics`: all of each table of statistics_layout(); `parameters`: those that the
/// statistics belong to; overwritten. A pure function of its arguments. Returns whether a cluster was begun anew: see
/// move_centres(), move_components(). Throws Error(kDiverged) as the latter.
[[nodiscard]] bool maximise(const ModelSpec& spec, std::span<const std::vector<double>> statistics, std::uint64_t seed,
                            std::uint32_t epoch, Tables& parameters);

}  // namespace virga
