#pragma once

#include <cstdint>

#include "virga/base/view.h"

namespace virga {

/// Those who talk to each other in a collective, as one of them sees it: all ranks of a view, the replicas of a
/// pipeline stage, ... Positions count from 0 within the group; they are what messages call source and destination.
struct Group {
  std::uint32_t view = 0;
  std::uint32_t id = 0;  ///< tells groups of one view apart
  std::uint32_t rank = 0;
  std::uint32_t size = 1;
  Generation generation = 0;  ///< of this member
};

/// First of the transfers that a collective makes in a round; collectives of one group in one round take different
/// ones.
using Phase = std::uint16_t;

}  // namespace virga
