#pragma once
#include <cstdint>
#include <string_view>
namespace virga {
enum class ScheduleKind : std::uint8_t { kDefault, kConstant, kInverseSqrt, kLinear, kCosine };
ScheduleKind schedule_kind(std::string_view word);
double schedule_factor(ScheduleKind kind, std::uint32_t epoch, std::uint32_t epochs);
}  // namespace virga
