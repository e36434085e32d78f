#include "virga/batch/mini_batch.h"

#include <algorithm>

#include "virga/base/error.h"
#include "virga/batch/bit_rank.h"
#include "virga/batch/flagged_keys.h"
#include "virga/batch/merge_keys.h"

namespace virga {
namespace {

constexpr std::uint32_t kWordBits = 64;
/// A bitmap over all features pays when there are not many more words than keys.
constexpr std::size_t kMostWordsPerKey = 2;

/// Sets the flag of each index.
template <typename Index>
void mark(std::span<const Index> indices, std::uint8_t* flags) {
#pragma GCC unroll 8
  for (const auto index : indices) flags[index] = 1;
}

}  // namespace

/// The keys that the slice uses, ascending: the group's or those that it writes to `scratch`.
std::span<const std::uint32_t> BatchAssembler::find_used(BatchSlice& slice, std::vector<std::uint32_t>& scratch) {
  const auto& group = *slice.group;
  slice.all_used = slice.first_row == 0 && slice.last_row == group.rows;
  if (slice.all_used) return group.keys;
  if (flags_.size() < group.keys.size()) flags_.resize(group.keys.size());
  const auto first = group.row_begin[slice.first_row];
  const auto count = group.row_begin[slice.last_row] - first;
  if (group.wide()) {
    mark(std::span(group.indices32).subspan(first, count), flags_.data());
  } else {
    mark(std::span(group.indices16).subspan(first, count), flags_.data());
  }
  const auto room = group.keys.size() + kFlaggedKeysSlack;
  if (used_.size() < room) used_.resize(room);
  if (scratch.size() < room) scratch.resize(room);
  const auto flags = std::span(flags_).first(group.keys.size());
  const auto used = flagged_keys(flags, group.keys, used_, scratch);
  std::ranges::fill(flags, 0);
  slice.used.assign(used_.data(), used_.data() + used);
  return std::span(scratch).first(used);
}

void BatchAssembler::merge_two(MiniBatch& batch) {
  const auto& a = keys_[0];
  const auto& b = keys_[1];
  if (merged_.size() < a.size() + b.size()) merged_.resize(a.size() + b.size());
  batch.slices[0].positions.resize(a.size());
  batch.slices[1].positions.resize(b.size());
  const auto keys = merge_keys(a, b, merged_, batch.slices[0].positions, batch.slices[1].positions);
  batch.keys.assign(merged_.data(), merged_.data() + keys);
}

void BatchAssembler::merge_by_bitmap(MiniBatch& batch) {
  const auto words = (std::size_t{features_} + kWordBits - 1) / kWordBits;
  if (seen_.size() < words) seen_.resize(words);
  if (odd_.size() < words) odd_.resize(words);
  rank_.resize(words);
  for (const auto keys : keys_) {
    // Neighbours often fall into one word: in two bitmaps, by turns, one need not wait for the other.
    std::size_t i = 0;
    for (; i + 2 <= keys.size(); i += 2) {
      seen_[keys[i] / kWordBits] |= std::uint64_t{1} << (keys[i] % kWordBits);
      odd_[keys[i + 1] / kWordBits] |= std::uint64_t{1} << (keys[i + 1] % kWordBits);
    }
    if (i < keys.size()) seen_[keys[i] / kWordBits] |= std::uint64_t{1} << (keys[i] % kWordBits);
  }
  for (std::size_t w = 0; w < words; ++w) {
    seen_[w] |= odd_[w];
    odd_[w] = 0;
  }
  const std::span seen(seen_.data(), words);
  batch.keys.resize(rank_words(seen, rank_));
  for (std::size_t s = 0; s < batch.slices.size(); ++s) {
    const auto keys = keys_[s];
    auto& positions = batch.slices[s].positions;
    positions.resize(keys.size());
    find_places(seen, rank_, keys, positions);
    // Some keys are written more than once: cheaper than a walk over the bitmap, whose branches nobody can predict.
    for (std::size_t i = 0; i < keys.size(); ++i) batch.keys[positions[i]] = keys[i];
  }
  std::ranges::fill(seen_, 0);
}

void BatchAssembler::merge_by_sorting(MiniBatch& batch) {
  for (const auto keys : keys_) batch.keys.insert(batch.keys.end(), keys.begin(), keys.end());
  std::ranges::sort(batch.keys);
  batch.keys.erase(std::unique(batch.keys.begin(), batch.keys.end()), batch.keys.end());
  for (std::size_t s = 0; s < batch.slices.size(); ++s) {
    auto at = batch.keys.begin();
    for (const auto key : keys_[s]) {
      at = std::lower_bound(at, batch.keys.end(), key);
      batch.slices[s].positions.push_back(static_cast<std::uint32_t>(at - batch.keys.begin()));
    }
  }
}

MiniBatch BatchAssembler::assemble(std::span<const RowRange> ranges) {
  MiniBatch batch;
  batch.slices.reserve(ranges.size());
  if (scratch_.size() < ranges.size()) scratch_.resize(ranges.size());
  keys_.clear();
  std::size_t keys = 0;
  for (const auto& range : ranges) {
    check(range.first_row <= range.last_row && range.last_row <= range.group->rows, "a range lies within its group");
    if (range.first_row == range.last_row) continue;
    auto& slice = batch.slices.emplace_back();
    slice.group = range.group;
    slice.first_row = range.first_row;
    slice.last_row = range.last_row;
    batch.rows += slice.rows();
    if (range.group->dense) continue;
    keys_.push_back(find_used(slice, scratch_[keys_.size()]));
    keys += keys_.back().size();
  }
  if (keys == 0) return batch;
  check(keys_.size() == batch.slices.size(), "the groups of a mini-batch are all sparse or all dense");
  if (keys_.size() == 1) {
    batch.keys.assign(keys_[0].begin(), keys_[0].end());
  } else if (keys_.size() == 2) {
    merge_two(batch);
  } else if (features_ / kWordBits <= kMostWordsPerKey * keys) {
    merge_by_bitmap(batch);
  } else {
    merge_by_sorting(batch);
  }
  return batch;
}

}  // namespace virga
