#include "virga/data/scaling.h"

#include <algorithm>

namespace virga {
namespace {

/// values[i] for the features of a group: by its dictionary, or by column.
std::vector<float> of_group(const std::vector<float>& values, const RowGroup& group, float otherwise) {
  const std::size_t count = group.dense ? group.columns : group.keys.size();
  if (values.empty()) return std::vector<float>(count, otherwise);
  if (values.size() == 1) return std::vector<float>(count, values.front());
  if (group.dense) return values;
  std::vector<float> result(count);
  for (std::size_t i = 0; i < count; ++i) result[i] = values[group.keys[i]];
  return result;
}

void scale_dense(RowGroup& group, const std::vector<float>& offset, const std::vector<float>& factor) {
  const std::size_t columns = group.columns;
  for (std::size_t row = 0; row < group.rows; ++row) {
    float* values = group.matrix.data() + row * columns;
    for (std::size_t i = 0; i < columns; ++i) values[i] = (values[i] - offset[i]) * factor[i];
  }
}

template <typename Index>
void scale_sparse(const Array<Index>& indices, Array<float>& values, const std::vector<float>& offset,
                  const std::vector<float>& factor) {
  for (std::size_t i = 0; i < indices.size(); ++i) values[i] = (values[i] - offset[indices[i]]) * factor[indices[i]];
}

/// Does scaling leave 1 what is 1, for all features of the group?
bool keeps_ones(const std::vector<float>& offset, const std::vector<float>& factor) {
  return std::ranges::equal(offset, factor, [](float o, float f) { return (1 - o) * f == 1; });
}

}  // namespace

void scale(const Encoding& encoding, RowGroup& group) {
  if (encoding.scale_offset.empty() && encoding.scale_factor.empty()) return;
  const auto offset = of_group(encoding.scale_offset, group, 0);
  const auto factor = of_group(encoding.scale_factor, group, 1);
  if (group.dense) {
    scale_dense(group, offset, factor);
    return;
  }
  if (group.values.empty()) {
    if (keeps_ones(offset, factor)) return;
    group.values.assign(group.nonzeros(), 1.0F);
  }
  if (group.wide()) {
    scale_sparse(group.indices32, group.values, offset, factor);
  } else {
    scale_sparse(group.indices16, group.values, offset, factor);
  }
}

}  // namespace virga
