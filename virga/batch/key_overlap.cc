#include "virga/batch/key_overlap.h"

#include <algorithm>
#include <array>

#include "virga/batch/flagged_keys.h"
#include "virga/batch/stretches.h"

namespace virga {
namespace {

struct ComparedLists {
  const std::uint32_t* before;
  const std::uint32_t* after;
  std::uint8_t* only_before;
  std::uint8_t* only_after;
};

/// Through `before` (a) and `after` (b).
struct Comparison : Stretch {
  /// An item's flag is right when it is left behind. Without a branch, which nobody could predict.
  [[gnu::always_inline]] void step(const ComparedLists& lists) noexcept {
    const auto of_before = lists.before[a];
    const auto of_after = lists.after[b];
    const auto leave_before = static_cast<std::uint8_t>(of_before <= of_after);
    const auto leave_after = static_cast<std::uint8_t>(of_after <= of_before);
    lists.only_before[a] = leave_after ^ 1;
    lists.only_after[b] = leave_before ^ 1;
    a += leave_before;
    b += leave_after;
  }

  void finish(const ComparedLists& lists) noexcept {
    while (a < end_a && b < end_b) step(lists);
    std::fill(lists.only_before + a, lists.only_before + end_a, std::uint8_t{1});
    std::fill(lists.only_after + b, lists.only_after + end_b, std::uint8_t{1});
  }
};

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
  const ComparedLists lists = {before.data(), after.data(), only_before_.data(), only_after_.data()};
  const auto [p, q, r] = stretches_of(before, after);
  std::array<Comparison, kStretches> comparisons = {{{p}, {q}, {r}}};
  walk_at_once(comparisons, lists);
  for (auto& comparison : comparisons) comparison.finish(lists);

  leaving_.take(only_before_, before);
  arriving_.take(only_after_, after);
  invert(only_before_);
  invert(only_after_);
  kept_before_.take(only_before_, before);
  kept_after_.take(only_after_, after);
}

}  // namespace virga
