#pragma once
namespace virga {
struct Kernels {};
enum class SimdLevel { kScalar };
inline SimdLevel best_simd_level() { return SimdLevel::kScalar; }
inline const Kernels& kernels(SimdLevel) {
  static const Kernels k;
  return k;
}
}  // namespace virga
#include <string_view>
namespace virga {
inline std::string_view to_string(SimdLevel) { return "scalar"; }
}  // namespace virga
