#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "virga/data/manifest.h"

namespace virga {

/// Rows [first_row, last_row) of one row group.
struct GroupRows {
  std::uint32_t block = 0;  ///< index in Split::blocks
  std::uint32_t group = 0;  ///< index in BlockInfo::group_bytes
  std::uint32_t first_row = 0;
  std::uint32_t last_row = 0;
  bool operator==(const GroupRows&) const = default;
};

/// The order in which an epoch visits the row groups of a split.
class EpochOrder {
 public:
  [[nodiscard]] std::uint32_t epoch() const noexcept { return epoch_; }

 private:
  friend class Schedule;
  std::uint32_t epoch_ = 0;
  std::vector<GroupRows> groups_;     // whole groups, as they are visited; all but the last one of the same size
  std::vector<std::uint64_t> steps_;  // with fixed shares: [step] the one of epoch 0 that it takes the rows of
};

/// Which rows a rank computes on in a round: a pure function of (split, seed, batch size; round, rank, world size), by
/// which all ranks agree without talking.
///
/// An epoch visits all blocks in random order, and the groups of each block in random order (Philox, kSchedule, epoch);
/// but the very last group, which may be shorter, comes last: so steps of whole groups stay whole. Rows keep their
/// order, which the import shuffled. Step t of the epoch takes rows [tB, (t+1)B) of that order, the
/// last step what is left; rank r of w takes [floor(r n / w), floor((r+1) n / w)) of the step's n rows. So the rows of
/// a step do not depend on w, all ranks have the same number of rounds, and a rank may get no rows.
///
/// With *fixed shares* each rank has the same rows in all epochs (of one w): the steps are those of epoch 0, in random
/// order (but for the last one), and an epoch may be several passes through them.
///
/// Immutable; threads may share it. Memory: 16 bytes a group in each EpochOrder.
class Schedule {
 public:
  /// `split` (borrowed) is of a manifest that was read or checked: all groups but the last have `rows_per_group` rows.
  /// `batch_size`: rows of a step, over all ranks. Throws Error(kBadData) for a split without rows, kUsage for a batch
  /// size of 0.
  Schedule(const Split& split, std::uint32_t rows_per_group, std::uint64_t seed, std::uint64_t batch_size);
  /// With fixed shares. Throws Error(kUsage) for 0 passes.
  Schedule(const Split& split, std::uint32_t rows_per_group, std::uint64_t seed, std::uint64_t batch_size,
           std::uint32_t passes);

  [[nodiscard]] std::uint64_t rounds_per_epoch() const noexcept { return rounds_per_pass() * std::max(1U, passes_); }
  [[nodiscard]] std::uint64_t rows() const noexcept { return rows_; }
  /// Rows that an epoch goes through, each pass counted.
  [[nodiscard]] std::uint64_t rows_per_epoch() const noexcept { return rows_ * std::max(1U, passes_); }
  [[nodiscard]] std::uint64_t batch_size() const noexcept { return batch_size_; }

  /// Epoch of a round (counted from 0 over all epochs) and its step in it.
  [[nodiscard]] std::uint32_t epoch_of(std::uint64_t round) const noexcept;
  [[nodiscard]] std::uint64_t step_of(std::uint64_t round) const noexcept { return round % rounds_per_epoch(); }

  /// O(groups), with fixed shares also O(rounds).
  [[nodiscard]] EpochOrder order(std::uint32_t epoch) const;

  /// The rows of `rank`, in order; adjacent entries are of different groups. O(1) and the length of the result.
  [[nodiscard]] std::vector<GroupRows> rows_of(const EpochOrder& order, std::uint64_t step, std::uint32_t rank,
                                               std::uint32_t world_size) const;

 private:
  [[nodiscard]] std::uint64_t rounds_per_pass() const noexcept { return 1 + (rows_ - 1) / batch_size_; }

  const Split& split_;
  const std::uint64_t rows_per_group_;
  const std::uint64_t seed_;
  const std::uint64_t batch_size_;
  const std::uint64_t rows_;
  std::uint64_t groups_ = 0;
  std::uint32_t passes_ = 0;  // 0: shares are not fixed
};

}  // namespace virga
