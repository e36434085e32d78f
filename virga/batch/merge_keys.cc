#include "virga/batch/merge_keys.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace virga {
namespace {

/// A merge waits for its last step, about seven cycles long; so many go on at once, which is what fits into registers.
constexpr std::size_t kParts = 3;

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

/// A stretch of both lists that nothing outside it equals or divides.
struct Part {
  std::size_t a, end_a;
  std::size_t b, end_b;
  std::size_t key;  // where the next item of the union goes

  /// So many items can be taken without looking for an end.
  [[nodiscard]] std::size_t safe() const noexcept { return std::min(end_a - a, end_b - b); }

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

void merge_at_once(std::array<Part, kParts>& parts, const Lists& lists) noexcept {
  for (;;) {
    // In registers: the lists are of the same type as the places, so that the compiler could not keep them there.
    auto [p, q, r] = parts;
    const auto steps = std::min({p.safe(), q.safe(), r.safe()});
    if (steps == 0) return;
    for (std::size_t i = 0; i < steps; ++i) {
      p.step(lists);
      q.step(lists);
      r.step(lists);
    }
    parts = {p, q, r};
  }
}

}  // namespace

std::uint32_t merge_keys(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b,
                         std::span<std::uint32_t> keys, std::span<std::uint32_t> places_a,
                         std::span<std::uint32_t> places_b) noexcept {
  const Lists lists = {a.data(), b.data(), keys.data(), places_a.data(), places_b.data()};
  std::array<Part, kParts> parts;
  std::size_t next_a = 0;
  std::size_t next_b = 0;
  for (std::size_t p = 0; p < kParts; ++p) {
    const auto end_a = a.size() * (p + 1) / kParts;
    const auto end_b = end_a == a.size() ? b.end() : std::ranges::lower_bound(b, a[end_a]);
    parts[p] = {next_a, end_a, next_b, static_cast<std::size_t>(end_b - b.begin()), next_a + next_b};
    next_a = parts[p].end_a;
    next_b = parts[p].end_b;
  }
  const auto starts = parts;
  merge_at_once(parts, lists);

  // Items in both lists leave gaps between the parts: close them.
  std::size_t end = 0;
  for (std::size_t p = 0; p < kParts; ++p) {
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
