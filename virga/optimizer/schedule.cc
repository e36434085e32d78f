#include "virga/optimizer/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <utility>

#include "virga/base/error.h"
#include "virga/math/elementary.h"

namespace virga {
namespace {

constexpr std::pair<std::string_view, ScheduleKind> kSchedules[] = {{"auto", ScheduleKind::kDefault},
                                                                    {"constant", ScheduleKind::kConstant},
                                                                    {"inverse-sqrt", ScheduleKind::kInverseSqrt},
                                                                    {"linear", ScheduleKind::kLinear},
                                                                    {"cosine", ScheduleKind::kCosine},
                                                                    {"step", ScheduleKind::kStep}};

}  // namespace

ScheduleKind schedule_kind(std::string_view word) {
  const auto* found = std::ranges::find(kSchedules, word, [](const auto& entry) { return entry.first; });
  if (found == std::end(kSchedules)) {
    throw Error(ErrorKind::kUsage, "there is no learning-rate schedule '" + std::string(word) + "'",
                "use auto, constant, inverse-sqrt, linear, cosine or step");
  }
  return found->second;
}

double schedule_factor(ScheduleKind kind, std::uint32_t epoch, std::uint32_t epochs) {
  check(epochs > 0, "a run has at least one epoch");
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
      return 0.5 * (1 + math::cos(std::numbers::pi * done));
    case ScheduleKind::kStep:
      return done < 0.5 ? 1 : done < 0.75 ? 0.1 : 0.01;
  }
  return 1;
}

}  // namespace virga
