#pragma once

#include <chrono>
#include <cstdint>
#include <span>

#include "virga/channel/channel.h"
#include "virga/collective/pattern_choice.h"

namespace virga {

struct ChannelProbe {
  ChannelFigures figures;
  Traffic traffic;  ///< of the probe itself, what it put and got
};

/// Measures a channel by messages to itself: small ones, for which somebody waits; several at once; large ones of up to
/// 4 MiB, as far as `wait` has time for them; and those of all `members` at once. `members` (at least 2, borrowed) are
/// the channel as as many functions have it, each with lines of its own; the same one may stand for all.
///
/// Its messages are in view 0, in which no run has any, and are retired before it returns or throws; what a killed one
/// leaves is swept with the first view of the run. Throws what the channel throws: kDeadlineExceeded if the first ones
/// do not come back in time.
[[nodiscard]] ChannelProbe probe_channel(std::span<Channel* const> members, const Wait& wait);

}  // namespace virga
