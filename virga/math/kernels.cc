#include "virga/math/kernels.h"

#include "virga/base/error.h"
#include "virga/math/kernel_tables.h"

namespace virga {

std::string_view to_string(SimdLevel level) noexcept {
  switch (level) {
    case SimdLevel::kScalar:
      return "scalar";
    case SimdLevel::kAvx2:
      return "avx2";
    case SimdLevel::kAvx512:
      return "avx512";
  }
  return "";
}

bool has_simd_level(SimdLevel level) noexcept {
  // The compiler's run-time support asks cpuid and, by xgetbv, whether the operating system saves the registers.
  __builtin_cpu_init();
  switch (level) {
    case SimdLevel::kScalar:
      return true;
    case SimdLevel::kAvx2:
      return __builtin_cpu_supports("avx2") != 0;
    case SimdLevel::kAvx512:
      return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512vl") != 0 &&
             __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512dq") != 0;
  }
  return false;
}

SimdLevel best_simd_level() noexcept {
  if (has_simd_level(SimdLevel::kAvx512)) return SimdLevel::kAvx512;
  return has_simd_level(SimdLevel::kAvx2) ? SimdLevel::kAvx2 : SimdLevel::kScalar;
}

const Kernels& kernels(SimdLevel level) {
  check(has_simd_level(level), "the processor has the instruction set that was asked for");
  switch (level) {
    case SimdLevel::kAvx2:
      return kAvx2Kernels;
    case SimdLevel::kAvx512:
      return kAvx512Kernels;
    case SimdLevel::kScalar:
      break;
  }
  return kScalarKernels;
}

}  // namespace virga
