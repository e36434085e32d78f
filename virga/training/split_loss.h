#pragma once

#include "virga/batch/table.h"
#include "virga/data/group_cache.h"
#include "virga/math/kernels.h"
#include "virga/model/model.h"

namespace virga {

/// The mean of the losses of a split. Throws Error(kBadData) if its rows have no weight.
[[nodiscard]] double mean_loss(const LossSums& losses);

/// Mean loss (weighted, without regularisation) of `parameters` over all rows of a split, on `threads` threads; the
/// same bits for any number of them. Throws what reading throws, Error(kBadData) for a split without weight.
[[nodiscard]] double split_loss(GroupCache& cache, SplitName split, const ModelSpec& model, const Tables& parameters,
                                const Kernels& kernels, unsigned threads);

}  // namespace virga
