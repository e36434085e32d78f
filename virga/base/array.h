#pragma once

#include <algorithm>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace virga {

/// Leaves new elements without a value, unless one is given.
template <typename T>
struct UnsetAllocator : std::allocator<T> {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);
  using std::allocator<T>::allocator;
  template <typename U>
  struct rebind {
    using other = UnsetAllocator<U>;
  };
  template <typename U>
  void construct(U*) noexcept {}
  template <typename U, typename... Values>
  void construct(U* at, Values&&... values) {
    std::construct_at(at, std::forward<Values>(values)...);
  }
};

/// A vector for what is about to be written whole: resize() leaves new elements unset, not 0.
template <typename T>
using Array = std::vector<T, UnsetAllocator<T>>;

template <typename T>
[[nodiscard]] bool operator==(const Array<T>& a, const std::vector<T>& b) noexcept {
  return std::ranges::equal(a, b);
}

}  // namespace virga
