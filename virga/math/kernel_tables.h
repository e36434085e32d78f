#pragma once

#include "virga/math/kernels.h"

namespace virga {

// One for each kernels_*.cc; constants, so that nothing of a level runs before it has been chosen.
extern const Kernels kScalarKernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;

}  // namespace virga
