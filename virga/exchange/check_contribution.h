#pragma once

#include <string_view>

#include "virga/batch/contribution.h"
#include "virga/batch/table.h"
#include "virga/control/control.h"

namespace virga {

/// Remedy of a run whose numbers are not finite.
inline constexpr char kDivergedRemedy[] = "lower --learning-rate, or look for extreme values with 'virga inspect'";

/// Stops at a contribution that does not fit `layout`. Throws Error(kDiverged), naming round and rank, unless its loss
/// and weight are finite.
void check_shape(const Contribution& contribution, const Layout& layout, Round round, unsigned rank,
                 std::string_view remedy = kDivergedRemedy);

/// Throws Error(kDiverged), naming round, rank, table and row, unless all its values are finite.
void check_finite(const Contribution& contribution, const Layout& layout, Round round, unsigned rank,
                  std::string_view remedy = kDivergedRemedy);

/// Throws Error(kDiverged): all contributions to `round` are finite, but not their mean.
[[noreturn]] void throw_mean_diverged(Round round);

}  // namespace virga
