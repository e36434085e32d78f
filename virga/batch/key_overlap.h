#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace virga {

/// What two ascending lists of keys have in common, by positions in both. Keeps its memory between calls, so one for
/// each thread.
class KeyOverlap {
 public:
  using Items = std::span<const std::uint32_t>;

  /// Both lists ascend strictly and may go away afterwards.
  void find(Items before, Items after);

  // All ascending. before[kept_before()[i]] == after[kept_after()[i]].
  [[nodiscard]] Items kept_before() const noexcept { return kept_before_.positions(); }
  [[nodiscard]] Items kept_after() const noexcept { return kept_after_.positions(); }
  [[nodiscard]] Items kept_keys() const noexcept { return kept_after_.keys(); }
  /// Of what only `before` has, and that itself.
  [[nodiscard]] Items leaving() const noexcept { return leaving_.positions(); }
  [[nodiscard]] Items leaving_keys() const noexcept { return leaving_.keys(); }
  /// Of what only `after` has.
  [[nodiscard]] Items arriving() const noexcept { return arriving_.positions(); }
  [[nodiscard]] Items arriving_keys() const noexcept { return arriving_.keys(); }

 private:
  class Some {
   public:
    void take(std::span<const std::uint8_t> flags, Items of);
    [[nodiscard]] Items positions() const noexcept { return {positions_.data(), count_}; }
    [[nodiscard]] Items keys() const noexcept { return {keys_.data(), count_}; }

   private:
    std::vector<std::uint32_t> positions_, keys_;  // longer than what they hold
    std::size_t count_ = 0;
  };

  std::vector<std::uint8_t> only_before_, only_after_;  // flags
  Some kept_before_, kept_after_, leaving_, arriving_;
};

}  // namespace virga
