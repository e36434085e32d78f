#pragma once

#include <cstdint>
#include <span>

#include "virga/batch/contribution.h"
#include "virga/batch/table.h"
#include "virga/control/control.h"

namespace virga {

/// An Exchange owns the shared parameters as one rank sees them, and the protocol by which the ranks' contributions
/// reach them. One object for each rank, used by that rank's thread alone; the sequence is read(r), write(r), read(r +
/// 1), ... Every wait is bounded or ends when the run is aborted; members throw what ended the run elsewhere.
class Exchange {
 public:
  Exchange() = default;
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  virtual ~Exchange() = default;

  /// The parameters that `round` is computed from: for a sparse table the rows `keys` (ascending, unique), in that
  /// order; every other table whole. Waits until they are as fresh as the protocol demands. Valid until the next call.
  [[nodiscard]] virtual const CompactParameters& read(Round round, std::span<const std::uint32_t> keys) = 0;

  /// Adds this rank's contribution to `round`; its buffers stay the caller's and are not used after the call. Throws
  /// Error(kDiverged) when the contribution is not finite, naming round and rank.
  virtual void write(Round round, const Contribution& contribution) = 0;
};

}  // namespace virga
