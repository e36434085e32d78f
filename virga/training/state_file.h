#pragma once

#include <cstdint>

#include "virga/base/bytes.h"
#include "virga/exchange/bsp_exchange.h"
#include "virga/optimizer/update_rule.h"

namespace virga {

/// What a replica has summed up over the rounds of its epoch.
struct EpochSums {
  double loss = 0;
  double weight = 0;
  std::uint64_t examples = 0;      ///< since the start of the run
  std::uint64_t updates = 0;       ///< ASP: written to the global model
  std::uint64_t lost_updates = 0;  ///< ASP: of these
  bool operator==(const EpochSums&) const = default;
};

/// All that a worker needs to go on from a round, bit for bit: what a lost one is replaced from.
struct WorkerCheckpoint {
  Position position;
  double learning_rate = 0;  ///< the rule's, at that round
  EpochSums sums;
  RuleState rule;
  Tables own;  ///< ReplicaState::own
  bool operator==(const WorkerCheckpoint&) const = default;
};

/// The model at the end of an epoch (or where a run was stopped), for evaluation.
struct Snapshot {
  Round round = 0;          ///< rounds completed
  std::uint32_t epoch = 0;  ///< epochs completed; a stopped one counts
  bool last = false;        ///< the workers end here
  double learning_rate = 0;
  EpochSums sums;
  Tables parameters;
  bool operator==(const Snapshot&) const = default;
};

// Little-endian, with version and checksum (docs/formats/run-folder.md). Decoding throws Error(kCorrupt).
[[nodiscard]] Bytes encode_checkpoint(const WorkerCheckpoint& checkpoint);
[[nodiscard]] WorkerCheckpoint decode_checkpoint(ByteView bytes);
[[nodiscard]] Bytes encode_snapshot(const Snapshot& snapshot);
[[nodiscard]] Snapshot decode_snapshot(ByteView bytes);

}  // namespace virga
