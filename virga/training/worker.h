#pragma once

#include <cstdint>

#include "virga/control/control.h"
#include "virga/data/loader.h"
#include "virga/exchange/exchange.h"
#include "virga/training/algorithm.h"

namespace virga {

/// The life of one rank: from round `start` until `control` ends it. Runs on the calling thread; every object belongs
/// to this rank alone. Throws what any of them throws. `stride`: 1, or of threads that take the rounds of one rank by
/// turns, how many they are.
void run_worker(Round start, BatchSource& data, Exchange& exchange, Algorithm& algorithm, Control& control,
                Reporter& reporter, Checkpoint& checkpoint, Round stride = 1);

}  // namespace virga
