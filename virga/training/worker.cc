#include "virga/training/worker.h"

namespace virga {

void run_worker(Round start, BatchSource& data, Exchange& exchange, Algorithm& algorithm, Control& control,
                Reporter& reporter, Checkpoint& checkpoint, Round stride) {
  for (Round round = start; control.may_run(round); round += stride) {
    const auto& batch = data.batch(round);
    const auto& parameters = exchange.read(round, batch.keys);
    exchange.write(round, algorithm.local_step(parameters, batch));
    reporter.round(round);
    checkpoint.if_due(round);
  }
}

}  // namespace virga
