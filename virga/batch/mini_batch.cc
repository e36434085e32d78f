#include "virga/batch/mini_batch.h"

#include <algorithm>
namespace virga {
BatchAssembler::BatchAssembler(std::uint32_t features) : features_(features) {}
MiniBatch BatchAssembler::assemble(std::span<const RowRange> ranges) {
  MiniBatch batch;
  for (const auto& range : ranges) {
    const auto& group = *range.group;
    BatchSlice slice{range.group, range.first_row, range.last_row, {}, {}};
    batch.rows += slice.rows();
    if (!group.dense) {
      std::vector<bool> seen(group.keys.size());
      for (auto e = group.row_begin[range.first_row]; e < group.row_begin[range.last_row]; ++e)
        seen[group.index(e)] = true;
      for (std::uint32_t k = 0; k < seen.size(); ++k)
        if (seen[k]) slice.used.push_back(k), batch.keys.push_back(group.keys[k]);
    }
    batch.slices.push_back(std::move(slice));
  }
  std::ranges::sort(batch.keys);
  batch.keys.erase(std::unique(batch.keys.begin(), batch.keys.end()), batch.keys.end());
  for (auto& slice : batch.slices)
    for (const auto k : slice.used)
      slice.positions.push_back(
          static_cast<std::uint32_t>(std::ranges::lower_bound(batch.keys, slice.group->keys[k]) - batch.keys.begin()));
  return batch;
}
}  // namespace virga
