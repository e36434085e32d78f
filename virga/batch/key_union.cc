#include "virga/batch/key_union.h"

#include <numeric>

#include "virga/batch/merge_keys.h"

namespace virga {

void KeyUnion::merge(std::span<const std::span<const std::uint32_t>> lists) {
  if (places_.size() < lists.size()) places_.resize(lists.size());
  if (unions_.size() < lists.size()) unions_.resize(lists.size());
  used_ = 0;
  nodes_.clear();
  for (std::size_t l = 0; l < lists.size(); ++l) {
    places_[l].resize(lists[l].size());
    nodes_.push_back({lists[l], l, l + 1});
  }
  if (lists.size() == 1) std::iota(places_[0].begin(), places_[0].end(), 0U);
  for (std::size_t distance = 1; distance < nodes_.size(); distance *= 2) {
    for (std::size_t n = 0; n + distance < nodes_.size(); n += 2 * distance) merge(nodes_[n], nodes_[n + distance]);
  }
  keys_ = nodes_.empty() ? std::span<const std::uint32_t>() : nodes_[0].keys;
}

void KeyUnion::merge(Node& left, const Node& right) {
  auto& keys = unions_[used_++];
  if (keys.size() < left.keys.size() + right.keys.size()) keys.resize(left.keys.size() + right.keys.size());
  const bool leaves = left.last - left.first == 1 && right.last - right.first == 1;
  if (!leaves) {
    of_left_.resize(left.keys.size());
    of_right_.resize(right.keys.size());
  }
  const auto count = merge_keys(left.keys, right.keys, keys, leaves ? places_[left.first] : of_left_,
                                leaves ? places_[right.first] : of_right_);
  if (!leaves) {
    move_places(left, of_left_);
    move_places(right, of_right_);
  }
  left = {std::span(keys).first(count), left.first, right.last};
}

/// What stood at p in the union of `node` stands at to[p].
void KeyUnion::move_places(const Node& node, std::span<const std::uint32_t> to) {
  if (node.last - node.first == 1) {
    places_[node.first].assign(to.begin(), to.end());
    return;
  }
  for (auto l = node.first; l < node.last; ++l) {
    for (auto& place : places_[l]) place = to[place];
  }
}

}  // namespace virga
