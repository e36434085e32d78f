#include "virga/optimizer/schedule.h"

#include <cmath>

#include "virga/base/error.h"
#include "virga/math/elementary.h"
namespace virga {
ScheduleKind schedule_kind(std::string_view word) {
  if (word == "constant") return ScheduleKind::kConstant;
  if (word == "inverse-sqrt") return ScheduleKind::kInverseSqrt;
  if (word == "linear") return ScheduleKind::kLinear;
  if (word == "cosine") return ScheduleKind::kCosine;
  return ScheduleKind::kDefault;
}
double schedule_factor(ScheduleKind kind, std::uint32_t epoch, std::uint32_t epochs) {
  const double done = static_cast<double>(epoch) / epochs;
  switch (kind) {
    case ScheduleKind::kDefault:
      return epoch == 0 ? 0.25 : 1 - done;
    case ScheduleKind::kConstant:
      return 1;
    case ScheduleKind::kInverseSqrt:
      return 1 / std::sqrt(epoch + 1.0);
    case ScheduleKind::kLinear:
      return 1 - done;
    case ScheduleKind::kCosine:
      return 0.5 * (1 + math::cos(3.14159265358979323846 * done));
  }
  return 1;
}
}  // namespace virga
