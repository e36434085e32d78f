#pragma once

#include "virga/cli/session.h"
#include "virga/driver/train_run.h"

namespace virga {

/// Prints what virga train would do on the request, whether it fits into memory, and what it would cost at most. Starts
/// nothing and writes nothing; raw data that are not in the cache are not imported, and only what is known without them
/// is printed. Throws what train() would throw before its first round, for a plan that cannot work.
void dry_run(const TrainRequest& request, const Session& session);

}  // namespace virga
