#include "virga/optimizer/chunk_kernels.h"

#if defined(__clang__)
#define VIRGA_AVX512 [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl")]]
#else
#define VIRGA_AVX512 [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")]]
#endif

namespace virga {
namespace {

template <typename Rule>
void catch_up_128(const Rule& rule, Chunk& chunk) noexcept {
  rule.catch_up(chunk);
}
template <typename Rule>
void step_128(const Rule& rule, Chunk& chunk, const float* gradient) noexcept {
  rule.step(chunk, gradient);
}
template <typename Rule>
[[gnu::target("avx2")]] void catch_up_256(const Rule& rule, Chunk& chunk) noexcept {
  rule.catch_up(chunk);
}
template <typename Rule>
[[gnu::target("avx2")]] void step_256(const Rule& rule, Chunk& chunk, const float* gradient) noexcept {
  rule.step(chunk, gradient);
}
template <typename Rule>
VIRGA_AVX512 void catch_up_512(const Rule& rule, Chunk& chunk) noexcept {
  rule.catch_up(chunk);
}
template <typename Rule>
VIRGA_AVX512 void step_512(const Rule& rule, Chunk& chunk, const float* gradient) noexcept {
  rule.step(chunk, gradient);
}

}  // namespace

std::vector<VectorWidth> vector_widths() {
  std::vector<VectorWidth> widths = {VectorWidth::k128};
  if (__builtin_cpu_supports("avx2")) widths.push_back(VectorWidth::k256);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    widths.push_back(VectorWidth::k512);
  }
  return widths;
}

template <typename Rule>
ChunkKernels<Rule> chunk_kernels(VectorWidth width) noexcept {
  switch (width) {
    case VectorWidth::k128:
      return {catch_up_128<Rule>, step_128<Rule>};
    case VectorWidth::k256:
      return {catch_up_256<Rule>, step_256<Rule>};
    case VectorWidth::k512:
      return {catch_up_512<Rule>, step_512<Rule>};
  }
  return {catch_up_128<Rule>, step_128<Rule>};
}

template ChunkKernels<SgdRule> chunk_kernels(VectorWidth) noexcept;
template ChunkKernels<MomentumRule> chunk_kernels(VectorWidth) noexcept;
template ChunkKernels<AdagradRule> chunk_kernels(VectorWidth) noexcept;
template ChunkKernels<AdamRule> chunk_kernels(VectorWidth) noexcept;

}  // namespace virga
