#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace virga {

/// Allocates whole cache lines: what the kernels load and store in long vectors should not straddle them.
template <typename T>
struct CacheLineAllocator {
  using value_type = T;
  static constexpr std::align_val_t kLine{64};
  CacheLineAllocator() = default;
  template <typename U>
  explicit(false) CacheLineAllocator(const CacheLineAllocator<U>& /*other*/) noexcept {}
  [[nodiscard]] T* allocate(std::size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), kLine)); }
  void deallocate(T* from, std::size_t /*count*/) noexcept { ::operator delete(from, kLine); }
  template <typename U>
  bool operator==(const CacheLineAllocator<U>& /*other*/) const noexcept {
    return true;
  }
};
template <typename T>
using CacheLines = std::vector<T, CacheLineAllocator<T>>;

}  // namespace virga
