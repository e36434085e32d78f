#include "virga/collective/table_sum.h"

#include <algorithm>
#include <bit>

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

/// Merges while both lists last, for rows of one value. Half of the keys are in both lists, in no order that a branch
/// predictor could learn, so there are no branches on them.
Cursor merge_values(const SparsePart& left, const SparsePart& right, std::uint32_t* keys, float* values) {
  Cursor at;
  while (at.left < left.keys.size() && at.right < right.keys.size()) {
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
  return at;
}

/// The same for rows of `width` values, where copying outweighs a branch.
Cursor merge_rows(const SparsePart& left, const SparsePart& right, std::size_t width, std::uint32_t* keys,
                  float* values) {
  Cursor at;
  while (at.left < left.keys.size() && at.right < right.keys.size()) {
    const auto x = left.keys[at.left], y = right.keys[at.right];
    const float* a = left.values.data() + at.left * width;
    const float* b = right.values.data() + at.right * width;
    float* out = values + at.out * width;
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

}  // namespace

SparsePart key_range(const SparsePart& part, std::size_t width, std::uint64_t first, std::uint64_t last) {
  const auto begin = static_cast<std::size_t>(std::ranges::lower_bound(part.keys, first) - part.keys.begin());
  const auto end = static_cast<std::size_t>(std::ranges::lower_bound(part.keys, last) - part.keys.begin());
  return {part.keys.subspan(begin, end - begin), part.values.subspan(begin * width, (end - begin) * width)};
}

TableSum::Buffer& TableSum::next_buffer(std::size_t keys, std::size_t values) {
  auto& buffer = buffers_[used_++];
  if (buffer.keys.size() < keys) buffer.keys.resize(keys);
  if (buffer.values.size() < values) buffer.values.resize(values);
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
  auto& buffer = next_buffer(most, most * width);
  auto* keys = buffer.keys.data();
  auto* values = buffer.values.data();
  auto at = width == 1 ? merge_values(left, right, keys, values) : merge_rows(left, right, width, keys, values);
  const auto copy_rest = [&](const SparsePart& part, std::size_t from) {
    std::ranges::copy(part.keys.subspan(from), keys + at.out);
    std::ranges::copy(part.values.subspan(from * width), values + at.out * width);
    at.out += part.keys.size() - from;
  };
  copy_rest(left, at.left);
  copy_rest(right, at.right);
  left = {{keys, at.out}, {values, at.out * width}};
}

std::span<const float> TableSum::whole(std::vector<std::span<const float>>& parts) {
  if (parts.empty()) return {};
  if (buffers_.size() < parts.size()) buffers_.resize(parts.size());
  used_ = 0;
  tree_sum(std::span(parts), [&](std::span<const float>& left, std::span<const float> right) { add(left, right); });
  return parts[0];
}

void TableSum::add(std::span<const float>& left, std::span<const float> right) {
  if (right.empty()) return;
  if (left.empty()) {
    left = right;
    return;
  }
  check(left.size() == right.size(), "TableSum::whole: parts have one size or none");
  auto& sum = next_buffer(0, left.size()).values;
  for (std::size_t i = 0; i < left.size(); ++i) sum[i] = left[i] + right[i];
  left = std::span(sum).first(left.size());
}

}  // namespace virga
