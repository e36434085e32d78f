#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace virga {

// Walking two strictly ascending lists side by side. A step waits for the one before it, about seven cycles long; so
// several stretches of the lists are walked at once, which is as many as fit into registers.

constexpr std::size_t kStretches = 3;

/// Items [a, end_a) of one list and [b, end_b) of another, which nothing outside them equals or divides.
struct Stretch {
  std::size_t a, end_a;
  std::size_t b, end_b;

  /// So many steps can be taken without looking for an end.
  [[nodiscard]] std::size_t safe() const noexcept { return std::min(end_a - a, end_b - b); }
};

/// Equal shares of `a`, and what belongs to them of `b`; together all of both.
[[nodiscard]] inline std::array<Stretch, kStretches> stretches_of(std::span<const std::uint32_t> a,
                                                                  std::span<const std::uint32_t> b) noexcept {
  std::array<Stretch, kStretches> stretches;
  std::size_t next_a = 0, next_b = 0;
  for (std::size_t s = 0; s < kStretches; ++s) {
    const auto end_a = a.size() * (s + 1) / kStretches;
    const auto end_b = end_a == a.size() ? b.end() : std::ranges::lower_bound(b, a[end_a]);
    stretches[s] = {next_a, end_a, next_b, static_cast<std::size_t>(end_b - b.begin())};
    next_a = stretches[s].end_a;
    next_b = stretches[s].end_b;
  }
  return stretches;
}

/// Calls walk.step(lists) for all walks by turns, until one of them may be at an end of its stretch. A Walk is a
/// Stretch that goes on by step(); `Lists` says where the items are.
template <typename Walk, typename Lists>
void walk_at_once(std::array<Walk, kStretches>& walks, const Lists& where) noexcept {
  const Lists lists = where;
  for (;;) {
    // In registers, for which they may have no address: what a step writes might be they, for all the compiler knows.
    auto [p, q, r] = walks;
    const auto steps = std::min({p.safe(), q.safe(), r.safe()});
    if (steps == 0) return;
    for (std::size_t i = 0; i < steps; ++i) {
      p.step(lists);
      q.step(lists);
      r.step(lists);
    }
    walks = {p, q, r};
  }
}

}  // namespace virga
