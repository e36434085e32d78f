#pragma once

#include <cstdint>

namespace virga {

/// Number of a synchronous step of a run, from 0, over all epochs.
using Round = std::uint64_t;

/// Decides what a rank may do. One object for each rank; the decision for a round is the same for all ranks of a run.
class Control {
 public:
  Control() = default;
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;
  virtual ~Control() = default;

  /// May this rank run `round`? Called once for each round in order; may wait for the other ranks and for an
  /// evaluation. False ends the rank's loop. Throws what ended the run elsewhere.
  [[nodiscard]] virtual bool may_run(Round round) = 0;
};

/// Learns that a rank has completed a round. One object for each rank.
class Reporter {
 public:
  Reporter() = default;
  Reporter(const Reporter&) = delete;
  Reporter& operator=(const Reporter&) = delete;
  virtual ~Reporter() = default;
  virtual void round(Round round) = 0;
};

/// Keeps what must survive this process, when it is time to. One object for each rank.
class Checkpoint {
 public:
  Checkpoint() = default;
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;
  virtual ~Checkpoint() = default;
  /// Called after each completed round. Throws Error(kIo) when what is due cannot be kept.
  virtual void if_due(Round round) = 0;
};

}  // namespace virga
