#define VIRGA_SIMD_LEVEL SimdLevel::kAvx2
#define VIRGA_KERNELS kAvx2Kernels
#include "virga/math/kernels_impl.inc"
