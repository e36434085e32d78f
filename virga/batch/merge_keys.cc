#include "virga/batch/merge_keys.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "virga/batch/stretches.h"

namespace virga {
namespace {

struct Lists {
  const std::uint32_t* a;
  const std::uint32_t* b;
  std::uint32_t* keys;
  std::uint32_t* places_a;
  std::uint32_t* places_b;

  void take(std::uint32_t from, std::uint32_t& place, std::size_t key) const noexcept {
    keys[key] = from;
    place = static_cast<std::uint32_t>(key);
  }
};

struct Part : Stretch {
  std::size_t key;  // where the next item of the union goes

  /// The lesser of the next items, or both where they are equal; without a branch, which nobody could predict.
  [[gnu::always_inline]] void step(const Lists& lists) noexcept {
    const auto from_a = lists.a[a];
    const auto from_b = lists.b[b];
    lists.keys[key] = std::min(from_a, from_b);
    lists.places_a[a] = static_cast<std::uint32_t>(key);
    lists.places_b[b] = static_cast<std::uint32_t>(key);
    a += static_cast<std::size_t>(from_a <= from_b);
    b += static_cast<std::size_t>(from_b <= from_a);
    ++key;
  }

  void finish(const Lists& lists) noexcept {
    while (a < end_a && b < end_b) step(lists);
    for (; a < end_a; ++a, ++key) lists.take(lists.a[a], lists.places_a[a], key);
    for (; b < end_b; ++b, ++key) lists.take(lists.b[b], lists.places_b[b], key);
  }
};

}  // namespace

std::uint32_t merge_keys(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b,
                         std::span<std::uint32_t> keys, std::span<std::uint32_t> places_a,
                         std::span<std::uint32_t> places_b) noexcept {
  const Lists lists = {a.data(), b.data(), keys.data(), places_a.data(), places_b.data()};
  const auto [first, second, third] = stretches_of(a, b);
  std::array<Part, kStretches> parts = {{{first, 0}, {second, second.a + second.b}, {third, third.a + third.b}}};
  const auto starts = parts;
  walk_at_once(parts, lists);

  // Items in both lists leave gaps between the parts: close them.
  std::size_t end = 0;
  for (std::size_t p = 0; p < kStretches; ++p) {
    parts[p].finish(lists);
    const auto& start = starts[p];
    const auto gap = static_cast<std::uint32_t>(start.key - end);
    if (gap > 0) {
      std::copy(lists.keys + start.key, lists.keys + parts[p].key, lists.keys + end);
      for (auto i = start.a; i < start.end_a; ++i) lists.places_a[i] -= gap;
      for (auto j = start.b; j < start.end_b; ++j) lists.places_b[j] -= gap;
    }
    end = parts[p].key - gap;
  }
  return static_cast<std::uint32_t>(end);
}

}  // namespace virga
