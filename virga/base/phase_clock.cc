#include "virga/base/phase_clock.h"

namespace virga {

std::string_view to_string(WorkPhase phase) noexcept {
  constexpr std::array<std::string_view, kWorkPhases> kWords = {"start", "data",   "read", "compute", "encode", "send",
                                                                "wait",  "decode", "sum",  "apply",   "keep"};
  return kWords[static_cast<std::size_t>(phase)];
}

}  // namespace virga
