#include "virga/batch/mini_batch.h"

#include <algorithm>
#include <bit>

#include "virga/base/error.h"
#include "virga/batch/bit_rank.h"

namespace virga {
namespace {

constexpr std::uint32_t kWordBits = 64;
/// A bitmap over all features pays when there are not many more words than keys.
constexpr std::size_t kMostWordsPerKey = 2;

template <typename Index>
void mark(std::span<const Index> indices, std::uint64_t* seen) {
  for (const auto index : indices) seen[index / kWordBits] |= std::uint64_t{1} << (index % kWordBits);
}

/// Calls visit(position of each set bit) in ascending order and clears the words.
template <typename Visit>
void drain(std::uint64_t* words, std::size_t count, Visit visit) {
  for (std::size_t w = 0; w < count; ++w) {
    for (auto word = words[w]; word != 0; word &= word - 1) {
      visit(static_cast<std::uint32_t>(w * kWordBits) + static_cast<std::uint32_t>(std::countr_zero(word)));
    }
    words[w] = 0;
  }
}

/// Calls visit(key) for each key that a slice uses, ascending.
template <typename Visit>
void for_each_key(const BatchSlice& slice, Visit visit) {
  const auto& keys = slice.group->keys;
  if (slice.all_used) {
    for (const auto key : keys) visit(key);
  } else {
    for (const auto local : slice.used) visit(keys[local]);
  }
}

std::size_t used_keys(const BatchSlice& slice) { return slice.all_used ? slice.group->keys.size() : slice.used.size(); }

}  // namespace

void BatchAssembler::find_used(BatchSlice& slice) {
  const auto& group = *slice.group;
  slice.all_used = slice.first_row == 0 && slice.last_row == group.rows;
  if (slice.all_used) return;
  const auto words = (group.keys.size() + kWordBits - 1) / kWordBits;
  if (seen_.size() < words) seen_.resize(words);
  const auto first = group.row_begin[slice.first_row];
  const auto count = group.row_begin[slice.last_row] - first;
  if (group.wide()) {
    mark(std::span(group.indices32).subspan(first, count), seen_.data());
  } else {
    mark(std::span(group.indices16).subspan(first, count), seen_.data());
  }
  slice.used.resize(std::min<std::size_t>(count, group.keys.size()));
  auto* const begin = slice.used.data();
  auto* out = begin;
  drain(seen_.data(), words, [&](std::uint32_t local) { *out++ = local; });
  slice.used.resize(static_cast<std::size_t>(out - begin));
}

void BatchAssembler::merge_by_bitmap(MiniBatch& batch) {
  const auto words = (std::size_t{features_} + kWordBits - 1) / kWordBits;
  if (seen_.size() < words) seen_.resize(words);
  if (odd_.size() < words) odd_.resize(words);
  rank_.resize(words);
  for (const auto& slice : batch.slices) {
    // Neighbours often fall into one word: in two bitmaps, by turns, one need not wait for the other.
    const auto keys = keys_of(slice);
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
  for (auto& slice : batch.slices) {
    const auto keys = keys_of(slice);
    slice.positions.resize(keys.size());
    find_places(seen, rank_, keys, slice.positions);
    // Some keys are written more than once: cheaper than a walk over the bitmap, whose branches nobody can predict.
    for (std::size_t i = 0; i < keys.size(); ++i) batch.keys[slice.positions[i]] = keys[i];
  }
  std::ranges::fill(seen_, 0);
}

/// The keys that a slice uses, ascending; valid until the next call.
std::span<const std::uint32_t> BatchAssembler::keys_of(const BatchSlice& slice) {
  const auto& keys = slice.group->keys;
  if (slice.all_used) return keys;
  used_keys_.resize(slice.used.size());
  for (std::size_t i = 0; i < slice.used.size(); ++i) used_keys_[i] = keys[slice.used[i]];
  return used_keys_;
}

void BatchAssembler::merge_by_sorting(MiniBatch& batch) {
  for (const auto& slice : batch.slices) {
    for_each_key(slice, [&](std::uint32_t key) { batch.keys.push_back(key); });
  }
  std::ranges::sort(batch.keys);
  batch.keys.erase(std::unique(batch.keys.begin(), batch.keys.end()), batch.keys.end());
  for (auto& slice : batch.slices) {
    auto at = batch.keys.begin();
    for_each_key(slice, [&](std::uint32_t key) {
      at = std::lower_bound(at, batch.keys.end(), key);
      slice.positions.push_back(static_cast<std::uint32_t>(at - batch.keys.begin()));
    });
  }
}

MiniBatch BatchAssembler::assemble(std::span<const RowRange> ranges) {
  MiniBatch batch;
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
    find_used(slice);
    keys += used_keys(slice);
  }
  if (keys == 0) return batch;
  if (batch.slices.size() == 1) {
    const auto& slice = batch.slices[0];
    if (slice.all_used) {
      batch.keys = slice.group->keys;
    } else {
      batch.keys.resize(keys);
      auto* out = batch.keys.data();
      for_each_key(slice, [&](std::uint32_t key) { *out++ = key; });
    }
  } else if (features_ / kWordBits <= kMostWordsPerKey * keys) {
    merge_by_bitmap(batch);
  } else {
    merge_by_sorting(batch);
  }
  return batch;
}

}  // namespace virga
