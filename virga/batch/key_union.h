#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace virga {

/// The union of several sorted lists, and where the items of each stand in it. Keeps its memory between calls; for one
/// thread at a time.
class KeyUnion {
 public:
  /// Each of `lists` ascends strictly; they are borrowed until the next call, as the union of one list is that list.
  void merge(std::span<const std::span<const std::uint32_t>> lists);

  /// Ascending and unique.
  [[nodiscard]] std::span<const std::uint32_t> keys() const noexcept { return keys_; }
  /// places(l)[i]: where item i of list l stands in keys().
  [[nodiscard]] std::span<const std::uint32_t> places(std::size_t list) const noexcept { return places_[list]; }

 private:
  /// The union of some neighbouring lists.
  struct Node {
    std::span<const std::uint32_t> keys;
    std::size_t first = 0, last = 0;  // of the lists
  };
  void merge(Node& left, const Node& right);
  void move_places(const Node& node, std::span<const std::uint32_t> to);

  std::span<const std::uint32_t> keys_;
  std::vector<std::vector<std::uint32_t>> places_;  // [lists]
  // Scratch:
  std::vector<Node> nodes_;
  std::vector<std::vector<std::uint32_t>> unions_;  // one for each merge
  std::size_t used_ = 0;
  std::vector<std::uint32_t> of_left_, of_right_;
};

}  // namespace virga
