#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

#include <sys/mman.h>

namespace virga {

/// For large arrays that are read in random order: asks the system for pages of 2 MiB, of which the processor remembers
/// the places of all. Below that size, and where the system has no such pages, ordinary memory.
template <typename T>
struct HugePageAllocator {
  using value_type = T;
  static constexpr std::size_t kPage = std::size_t{2} << 20;

  HugePageAllocator() = default;
  template <typename U>
  explicit HugePageAllocator(const HugePageAllocator<U>&) noexcept {}

  [[nodiscard]] T* allocate(std::size_t count) {
    if (count > (std::size_t{1} << 62) / sizeof(T)) throw std::bad_array_new_length();
    const auto bytes = count * sizeof(T);
    const bool huge = bytes >= kPage;
    const auto rounded = huge ? (bytes + kPage - 1) / kPage * kPage : bytes;
    void* memory = huge ? std::aligned_alloc(kPage, rounded) : std::malloc(bytes);
    if (memory == nullptr) throw std::bad_alloc();
    if (huge) static_cast<void>(::madvise(memory, rounded, MADV_HUGEPAGE));  // advice: it may be refused
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, std::size_t) noexcept { std::free(memory); }
  bool operator==(const HugePageAllocator&) const = default;
};

}  // namespace virga
