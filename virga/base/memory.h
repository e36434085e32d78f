#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

namespace virga {

/// Bytes that this process may use: the machine's, or less when its control group (version 2, or 1) says so.
[[nodiscard]] std::uint64_t memory_limit();

/// Keeps memory that is freed for the next buffer, where the system would have to clear its pages anew: for programs
/// whose buffers come and go by the thousand. To be called by main().
void keep_freed_memory() noexcept;

/// Asks for the pages of memory that is about to be written: at once, which takes half the time that it takes to touch
/// them one after the other. Changes nothing in it. Where it is small, or the system does not know this, does nothing.
void populate(void* memory, std::size_t bytes) noexcept;

/// `size` zeros, which may be many.
template <typename T>
[[nodiscard]] std::vector<T> zeros(std::size_t size) {
  std::vector<T> values;
  values.reserve(size);
  populate(values.data(), size * sizeof(T));
  values.resize(size);
  return values;
}

/// For a large vector of zeros that is not resized: pages that come from the system are zero as they are.
template <typename T>
struct ZeroedAllocator {
  static_assert(std::is_arithmetic_v<T>, "all bits 0 are a value, and it needs no alignment of its own");
  using value_type = T;
  ZeroedAllocator() = default;
  template <typename U>
  ZeroedAllocator(const ZeroedAllocator<U>&) noexcept {}  // NOLINT(google-explicit-constructor): as allocators do

  [[nodiscard]] T* allocate(std::size_t size) {
    void* memory = std::calloc(size, sizeof(T));
    if (memory == nullptr) throw std::bad_alloc();
    populate(memory, size * sizeof(T));
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, std::size_t) noexcept { std::free(memory); }
  template <typename U>
  void construct(U*) noexcept {}
  template <typename U, typename... Values>
  void construct(U* at, Values&&... values) {
    std::construct_at(at, std::forward<Values>(values)...);
  }
  template <typename U>
  bool operator==(const ZeroedAllocator<U>&) const noexcept {
    return true;
  }
};

/// What this process has used so far.
struct ProcessUsage {
  double cpu_seconds = 0;               ///< user and system, all threads
  std::uint64_t peak_memory_bytes = 0;  ///< resident
};
[[nodiscard]] ProcessUsage process_usage() noexcept;

/// From now on, process_usage() tells the peak since this call, where the system permits that.
void forget_peak_memory() noexcept;

}  // namespace virga
