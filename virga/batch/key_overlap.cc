#include "virga/batch/key_overlap.h"

#include <algorithm>
#include <array>

#include "virga/batch/flagged_keys.h"

namespace virga {
namespace {

/// As in merge_keys(): a merge waits for its last step, so many go on at once.
constexpr std::size_t kStretches = 3;

struct ComparedLists {
  const std::uint32_t* before;
  const std::uint32_t* after;
  std::uint8_t* only_before;
  std::uint8_t* only_after;
};

/// A stretch of both lists that has no key in common with what is outside it.
struct Stretch {
  std::size_t b, end_b;
  std::size_t a, end_a;

  [[nodiscard]] std::size_t safe() const noexcept { return std::min(end_b - b, end_a - a); }

  /// An item's flag is right when it is left behind. Without a branch, which nobody could predict.
  [[gnu::always_inline]] void step(ComparedLists lists) noexcept {
    const auto of_before = lists.before[b];
    const auto of_after = lists.after[a];
    const auto leave_before = static_cast<std::uint8_t>(of_before <= of_after);
    const auto leave_after = static_cast<std::uint8_t>(of_after <= of_before);
    lists.only_before[b] = leave_after ^ 1;
    lists.only_after[a] = leave_before ^ 1;
    b += leave_before;
    a += leave_after;
  }

  void finish(ComparedLists lists) noexcept {
    while (b < end_b && a < end_a) step(lists);
    std::fill(lists.only_before + b, lists.only_before + end_b, std::uint8_t{1});
    std::fill(lists.only_after + a, lists.only_after + end_a, std::uint8_t{1});
  }
};

std::array<Stretch, kStretches> stretches_of(KeyOverlap::Items before, KeyOverlap::Items after) {
  std::array<Stretch, kStretches> stretches;
  std::size_t b = 0, a = 0;
  for (std::size_t p = 0; p < kStretches; ++p) {
    const auto end_b = before.size() * (p + 1) / kStretches;
    const auto end_a = end_b == before.size() ? after.end() : std::ranges::lower_bound(after, before[end_b]);
    stretches[p] = {b, end_b, a, static_cast<std::size_t>(end_a - after.begin())};
    b = stretches[p].end_b;
    a = stretches[p].end_a;
  }
  return stretches;
}

void compare(const ComparedLists lists, std::array<Stretch, kStretches> stretches) noexcept {
  for (;;) {
    auto [p, q, r] = stretches;  // in registers, for which they may have no address
    const auto steps = std::min({p.safe(), q.safe(), r.safe()});
    if (steps == 0) break;
    for (std::size_t i = 0; i < steps; ++i) {
      p.step(lists);
      q.step(lists);
      r.step(lists);
    }
    stretches = {p, q, r};
  }
  for (auto& stretch : stretches) stretch.finish(lists);
}

void invert(std::vector<std::uint8_t>& flags) {
  for (auto& flag : flags) flag ^= 1;
}

}  // namespace

void KeyOverlap::Some::take(std::span<const std::uint8_t> flags, Items of) {
  const auto room = of.size() + kFlaggedKeysSlack;
  if (positions_.size() < room) positions_.resize(room);
  if (keys_.size() < room) keys_.resize(room);
  count_ = flagged_keys(flags, of, std::span(positions_).first(room), std::span(keys_).first(room));
}

void KeyOverlap::find(Items before, Items after) {
  only_before_.resize(before.size());
  only_after_.resize(after.size());
  compare({before.data(), after.data(), only_before_.data(), only_after_.data()}, stretches_of(before, after));

  leaving_.take(only_before_, before);
  arriving_.take(only_after_, after);
  invert(only_before_);
  invert(only_after_);
  kept_before_.take(only_before_, before);
  kept_after_.take(only_after_, after);
}

}  // namespace virga
