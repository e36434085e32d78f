#include "virga/training/sample.h"

#include <algorithm>

#include "virga/base/random.h"

namespace virga {

std::vector<RowRange> draw_sample(GroupCache& cache, std::uint64_t seed, std::uint64_t wanted) {
  const auto& train = cache.manifest().train;
  std::vector<GroupId> groups;
  for (std::uint32_t block = 0; block < train.blocks.size(); ++block) {
    for (std::uint32_t group = 0; group < train.blocks[block].group_bytes.size(); ++group) {
      groups.push_back({SplitName::kTrain, block, group});
    }
  }
  wanted = std::min(wanted, train.rows);
  std::vector<RowRange> sample;
  std::uint64_t rows = 0;
  for (const auto index : permutation(static_cast<std::uint32_t>(groups.size()), Random(seed, Purpose::kSample), 0)) {
    if (rows == wanted) break;
    const auto group = cache.get(groups[index]);
    const auto take = static_cast<std::uint32_t>(std::min<std::uint64_t>(group->rows, wanted - rows));
    sample.push_back({group, 0, take});
    rows += take;
  }
  return sample;
}

}  // namespace virga
