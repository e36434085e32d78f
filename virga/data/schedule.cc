#include "virga/data/schedule.h"

#include <algorithm>
#include <utility>

#include "virga/base/random.h"

namespace virga {
namespace {

/// The group numbers of one block in random order (Fisher-Yates). The streams of blocks are apart from each other and
/// from permutation()'s, which uses items below 2^32.
std::vector<std::uint32_t> group_order(const Random& random, std::uint32_t epoch, std::uint32_t block,
                                       std::size_t groups) {
  std::vector<std::uint32_t> order(groups);
  for (std::uint32_t i = 0; i < groups; ++i) order[i] = i;
  const std::uint64_t stream = (std::uint64_t{block} + 1) << 32;
  for (auto i = static_cast<std::uint32_t>(groups); i > 1; --i) {
    std::swap(order[i - 1], order[random.below(i, epoch, stream | i)]);
  }
  return order;
}

}  // namespace

Schedule::Schedule(const Split& split, std::uint32_t rows_per_group, std::uint64_t seed, std::uint64_t batch_size)
    : split_(split), rows_per_group_(rows_per_group), seed_(seed), batch_size_(batch_size), rows_(split.rows) {
  if (rows_ == 0) throw Error(ErrorKind::kBadData, "the split has no rows", "import a file with rows for it");
  if (batch_size_ == 0) throw Error(ErrorKind::kUsage, "a batch of 0 rows", "set batch_size to 1 or more");
  check(rows_per_group_ > 0, "a schedule needs groups with rows");
  for (const auto& block : split.blocks) groups_ += block.group_bytes.size();
  // NOLINTNEXTLINE(clang-analyzer-core.DivideZero): check() does not return
  check(groups_ == (rows_ + rows_per_group_ - 1) / rows_per_group_, "only the last group of a split may be shorter");
}

Schedule::Schedule(const Split& split, std::uint32_t rows_per_group, std::uint64_t seed, std::uint64_t batch_size,
                   std::uint32_t passes)
    : Schedule(split, rows_per_group, seed, batch_size) {
  if (passes == 0) throw Error(ErrorKind::kUsage, "an epoch of 0 passes", "set passes to 1 or more");
  passes_ = passes;
}

std::uint32_t Schedule::epoch_of(std::uint64_t round) const noexcept {
  return static_cast<std::uint32_t>(round / rounds_per_epoch());
}

EpochOrder Schedule::order(std::uint32_t epoch) const {
  const Random random(seed_, Purpose::kSchedule);
  EpochOrder result;
  result.epoch_ = epoch;
  result.groups_.reserve(groups_);
  const bool fixed = passes_ > 0;
  const auto groups_of = fixed ? 0 : epoch;
  for (const auto block : permutation(static_cast<std::uint32_t>(split_.blocks.size()), random, groups_of)) {
    const auto& info = split_.blocks[block];
    for (const auto group : group_order(random, groups_of, block, info.group_bytes.size())) {
      const bool last = block + 1 == split_.blocks.size() && group + 1 == info.group_bytes.size();
      if (last) continue;
      result.groups_.push_back(
          {.block = block, .group = group, .last_row = static_cast<std::uint32_t>(rows_per_group_)});
    }
  }
  const auto& last = split_.blocks.back();
  result.groups_.push_back({.block = static_cast<std::uint32_t>(split_.blocks.size() - 1),
                            .group = static_cast<std::uint32_t>(last.group_bytes.size() - 1),
                            .last_row = static_cast<std::uint32_t>(rows_ - (groups_ - 1) * rows_per_group_)});
  if (!fixed) return result;
  const auto whole = static_cast<std::uint32_t>(rounds_per_pass() - 1);  // steps that are not the last
  const Random of_steps(seed_, Purpose::kSteps);
  for (std::uint32_t pass = 0; pass < passes_; ++pass) {
    const auto order = permutation(whole, of_steps, epoch * passes_ + pass);
    result.steps_.insert(result.steps_.end(), order.begin(), order.end());
    result.steps_.push_back(whole);
  }
  return result;
}

std::vector<GroupRows> Schedule::rows_of(const EpochOrder& order, std::uint64_t step, std::uint32_t rank,
                                         std::uint32_t world_size) const {
  check(step < rounds_per_epoch() && rank < world_size, "a schedule has no such step or rank");
  const auto first = (order.steps_.empty() ? step : order.steps_[step]) * batch_size_;
  const auto count = std::min(batch_size_, rows_ - first);
  __extension__ using Wide = unsigned __int128;
  const auto share = [&](std::uint64_t r) { return first + static_cast<std::uint64_t>(Wide{r} * count / world_size); };

  std::vector<GroupRows> result;
  const auto end = share(std::uint64_t{rank} + 1);
  auto row = share(rank);
  if (row == end) return result;
  for (auto position = row / rows_per_group_; row < end; ++position) {
    auto rows = order.groups_[position];
    const auto begin = position * rows_per_group_;
    const auto stop = std::min(end, begin + rows.last_row);
    rows.first_row = static_cast<std::uint32_t>(row - begin);
    rows.last_row = static_cast<std::uint32_t>(stop - begin);
    result.push_back(rows);
    row = stop;
  }
  return result;
}

}  // namespace virga
