#include "virga/collective/table_sum.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <type_traits>
#include <utility>

#include "virga/base/error.h"
#include "virga/collective/tree_sum.h"

namespace virga {
namespace {

/// Where a merge of two lists of keys stands.
struct Cursor {
  std::size_t left = 0;
  std::size_t right = 0;
  std::size_t out = 0;
};

/// One step of a merge of rows of one value. Half of the keys are in both lists, in no order that a branch predictor
/// could learn, so there are no branches on them.
void merge_value(const SparsePart& left, const SparsePart& right, Cursor& at, std::uint32_t* keys, float* values) {
  const auto x = left.keys[at.left], y = right.keys[at.right];
  const std::uint32_t from_left = x <= y, from_right = y <= x;
  const float a = left.values[at.left], b = right.values[at.right];
  const std::uint32_t one = (std::bit_cast<std::uint32_t>(a) & (0U - from_left)) |  // a key of one list alone is
                            (std::bit_cast<std::uint32_t>(b) & (0U - from_right));  // taken as it is
  const std::uint32_t both = 0U - (from_left & from_right);
  keys[at.out] = std::min(x, y);
  values[at.out] = std::bit_cast<float>((std::bit_cast<std::uint32_t>(a + b) & both) | (one & ~both));
  at.left += from_left;
  at.right += from_right;
  ++at.out;
}

/// Merges rows of one value, to the end of both lists. A step of a merge waits for the one before it, so the lists are
/// cut into three ranges of keys, whose merges take turns.
std::size_t merge_values(const SparsePart& left, const SparsePart& right, std::uint32_t* keys, float* values) {
  constexpr std::size_t kRanges = 3;
  std::array<SparsePart, kRanges> lefts, rights;
  std::array<Cursor, kRanges> at;
  std::array<std::size_t, kRanges> begin{};  // in the output, where each has room for all of its keys
  std::size_t from = 0, from_right = 0;
  for (std::size_t i = 0; i < kRanges; ++i) {
    const auto last = i + 1 == kRanges;
    const auto to = left.keys.size() * (i + 1) / kRanges;
    const auto to_right =
        last ? right.keys.size()
             : static_cast<std::size_t>(std::ranges::lower_bound(right.keys, left.keys[to]) - right.keys.begin());
    lefts[i] = {left.keys.subspan(from, to - from), left.values.subspan(from, to - from)};
    rights[i] = {right.keys.subspan(from_right, to_right - from_right),
                 right.values.subspan(from_right, to_right - from_right)};
    at[i].out = begin[i] = from + from_right;
    from = to;
    from_right = to_right;
  }
  for (;;) {
    // So many steps can be made before any list can end.
    std::size_t steps = std::numeric_limits<std::size_t>::max();
    for (std::size_t i = 0; i < kRanges; ++i) {
      steps = std::min({steps, lefts[i].keys.size() - at[i].left, rights[i].keys.size() - at[i].right});
    }
    if (steps == 0) break;
    for (std::size_t step = 0; step < steps; ++step) {
      merge_value(lefts[0], rights[0], at[0], keys, values);
      merge_value(lefts[1], rights[1], at[1], keys, values);
      merge_value(lefts[2], rights[2], at[2], keys, values);
    }
  }
  std::size_t out = 0;
  for (std::size_t i = 0; i < kRanges; ++i) {
    auto& cursor = at[i];
    while (cursor.left < lefts[i].keys.size() && cursor.right < rights[i].keys.size()) {
      merge_value(lefts[i], rights[i], cursor, keys, values);
    }
    for (const auto& [part, rest] : {std::pair(&lefts[i], cursor.left), std::pair(&rights[i], cursor.right)}) {
      std::ranges::copy(part->keys.subspan(rest), keys + cursor.out);
      std::ranges::copy(part->values.subspan(rest), values + cursor.out);
      cursor.out += part->keys.size() - rest;
    }
    const auto count = cursor.out - begin[i];
    if (out != begin[i]) {  // to the left: what is copied lies ahead
      std::copy_n(keys + begin[i], count, keys + out);
      std::copy_n(values + begin[i], count, values + out);
    }
    out += count;
  }
  return out;
}

/// Makes room for `size` values; what was there may be lost.
template <typename T>
T* reserve(std::vector<T>& values, std::size_t size) {
  if (values.size() < size) values.resize(size);
  return values.data();
}

/// Values of a part, or of a buffer, by their type.
template <typename T, typename Values>
auto& values_of(Values& part) {
  if constexpr (std::is_same_v<T, float>) {
    return part.values;
  } else {
    return part.doubles;
  }
}

/// Merges rows of `width` values while both lists last; copying outweighs a branch.
template <typename T>
Cursor merge_rows(const SparsePart& left, const SparsePart& right, std::size_t width, std::uint32_t* keys, T* values) {
  Cursor at;
  while (at.left < left.keys.size() && at.right < right.keys.size()) {
    const auto x = left.keys[at.left], y = right.keys[at.right];
    const T* a = values_of<T>(left).data() + at.left * width;
    const T* b = values_of<T>(right).data() + at.right * width;
    T* out = values + at.out * width;
    if (x == y) {
      for (std::size_t c = 0; c < width; ++c) out[c] = a[c] + b[c];
    } else {
      std::copy_n(x < y ? a : b, width, out);
    }
    keys[at.out] = std::min(x, y);
    at.left += x <= y;
    at.right += y <= x;
    ++at.out;
  }
  return at;
}

/// merge_rows(), to the end of both lists; returns the number of keys.
template <typename T>
std::size_t merge_all_rows(const SparsePart& left, const SparsePart& right, std::size_t width, std::uint32_t* keys,
                           T* values) {
  auto at = merge_rows(left, right, width, keys, values);
  const auto copy_rest = [&](const SparsePart& part, std::size_t from) {
    std::ranges::copy(part.keys.subspan(from), keys + at.out);
    std::ranges::copy(values_of<T>(part).subspan(from * width), values + at.out * width);
    at.out += part.keys.size() - from;
  };
  copy_rest(left, at.left);
  copy_rest(right, at.right);
  return at.out;
}

}  // namespace

SparsePart key_range(const SparsePart& part, std::size_t width, std::uint64_t first, std::uint64_t last) {
  const auto begin = static_cast<std::size_t>(std::ranges::lower_bound(part.keys, first) - part.keys.begin());
  const auto end = static_cast<std::size_t>(std::ranges::lower_bound(part.keys, last) - part.keys.begin());
  const auto keys = part.keys.subspan(begin, end - begin);
  if (part.values.empty() && !part.doubles.empty()) {
    return {keys, {}, part.doubles.subspan(begin * width, keys.size() * width)};
  }
  return {keys, part.values.subspan(begin * width, keys.size() * width)};
}

TableSum::Buffer& TableSum::next_buffer(std::size_t keys) {
  auto& buffer = buffers_[used_++];
  reserve(buffer.keys, keys);
  return buffer;
}

SparsePart TableSum::sparse(std::vector<SparsePart>& parts, std::size_t width) {
  if (parts.empty()) return {};
  if (buffers_.size() < parts.size()) buffers_.resize(parts.size());
  used_ = 0;
  tree_sum(std::span(parts), [&](SparsePart& left, const SparsePart& right) { add(left, right, width); });
  return parts[0];
}

void TableSum::add(SparsePart& left, const SparsePart& right, std::size_t width) {
  if (right.keys.empty()) return;
  if (left.keys.empty()) {
    left = right;
    return;
  }
  const auto most = left.keys.size() + right.keys.size();
  auto& buffer = next_buffer(most);
  auto* keys = buffer.keys.data();
  if (!left.doubles.empty()) {
    auto* values = reserve(buffer.doubles, most * width);
    const auto count = merge_all_rows(left, right, width, keys, values);
    left = {{keys, count}, {}, {values, count * width}};
    return;
  }
  auto* values = reserve(buffer.values, most * width);
  const auto count =
      width == 1 ? merge_values(left, right, keys, values) : merge_all_rows(left, right, width, keys, values);
  left = {{keys, count}, {values, count * width}};
}

std::span<const float> TableSum::whole(std::vector<std::span<const float>>& parts) { return whole_of(parts); }
std::span<const double> TableSum::whole(std::vector<std::span<const double>>& parts) { return whole_of(parts); }

template <typename T>
std::span<const T> TableSum::whole_of(std::vector<std::span<const T>>& parts) {
  if (parts.empty()) return {};
  if (buffers_.size() < parts.size()) buffers_.resize(parts.size());
  used_ = 0;
  tree_sum(std::span(parts), [&](std::span<const T>& left, std::span<const T> right) { add(left, right); });
  return parts[0];
}

template <typename T>
void TableSum::add(std::span<const T>& left, std::span<const T> right) {
  if (right.empty()) return;
  if (left.empty()) {
    left = right;
    return;
  }
  check(left.size() == right.size(), "TableSum::whole: parts have one size or none");
  auto* const sum = reserve(values_of<T>(next_buffer(0)), left.size());
  for (std::size_t i = 0; i < left.size(); ++i) sum[i] = left[i] + right[i];
  left = {sum, left.size()};
}

}  // namespace virga
