#pragma once

#include <stop_token>

#include "virga/data/group_cache.h"
#include "virga/driver/training_run.h"
#include "virga/math/kernels.h"

namespace virga {

/// Trains with ranks as threads of this process: `plan.workers` ranks run the worker's loop over a shared replica. The
/// validation rows come from `validation`, which may be the cache of another set with the same encoding; null: the
/// training set's own validation split, if it has one. Throws Error(kDiverged) when the loss is not finite or hopeless,
/// kInterrupted when `stop` is requested before the first evaluation, and what reading the data throws.
[[nodiscard]] TrainingResult train_on_threads(const TrainingRun& run, GroupCache& train, GroupCache* validation,
                                              SplitName validation_split, const Kernels& kernels,
                                              TrainingObserver& observer, const std::stop_token& stop);

}  // namespace virga
