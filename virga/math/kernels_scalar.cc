#define VIRGA_SIMD_LEVEL SimdLevel::kScalar
#define VIRGA_KERNELS kScalarKernels
#include "virga/math/kernels_impl.inc"
