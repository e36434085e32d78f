#pragma once

#include <cstdint>
#include <string_view>

namespace virga {

/// How the learning rate changes from epoch to epoch; within an epoch it is constant, so that rows can be caught up in
/// closed form. Formulas: docs/optimizers.md.
enum class ScheduleKind : std::uint8_t { kDefault, kConstant, kInverseSqrt, kLinear, kCosine, kStep };

/// The schedule named by "auto" (kDefault), "constant", "inverse-sqrt", "linear", "cosine", "step". Throws
/// Error(kUsage) for any other word.
[[nodiscard]] ScheduleKind schedule_kind(std::string_view word);

/// What the learning rate is multiplied by in `epoch` (from 0) of `epochs`; the same bits everywhere. It may be asked
/// for epoch = epochs, the one that will not be run. `epochs` is at least 1.
[[nodiscard]] double schedule_factor(ScheduleKind kind, std::uint32_t epoch, std::uint32_t epochs);

}  // namespace virga
