#define VIRGA_SIMD_LEVEL SimdLevel::kAvx512
#define VIRGA_KERNELS kAvx512Kernels
#include "virga/math/kernels_impl.inc"
