#pragma once

#include <span>
#include <string>
#include <string_view>

#include "virga/channel/shaped_channel.h"

namespace virga {

/// What a channel is made to suffer, as jobs say it: "jitter=5ms", "throttled=0.01", ... in any order, each once. Of
/// times there are jitter and late-by, of probabilities throttled, cut-off, lost, late, doubled and get-cut-off (see
/// Faults). Throws Error(kUsage), naming `what`.
[[nodiscard]] Shape parse_shape(std::span<const std::string> words, std::string_view what);

}  // namespace virga
