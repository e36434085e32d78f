#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "virga/batch/mini_batch.h"
#include "virga/data/group_cache.h"
#include "virga/data/schedule.h"

namespace virga {

/// The mini-batches of one rank. While rounds are asked for in order, a thread prepares the next ones; any other order
/// is correct as well, but waits. For one calling thread.
class BatchSource {
 public:
  struct Options {
    SplitName split = SplitName::kTrain;  ///< the one that the schedule is of
    std::uint32_t rank = 0;
    std::uint32_t world_size = 1;
    /// Most mini-batches that are prepared ahead; 0: no thread, each is made when asked for. Handing one over costs 1
    /// to 3 us (less with more ahead), so where all data is in memory and each core has a rank, 0 is fastest.
    std::size_t prefetch = 16;
    /// No further one is begun while those that are ready, with the groups that they hold, take this much.
    std::uint64_t prefetch_bytes = std::uint64_t{8} << 20;
  };

  /// `cache` and `schedule` are borrowed.
  BatchSource(GroupCache& cache, const Schedule& schedule, const Options& options);
  /// Waits for the mini-batch that is being made, not for those that are not.
  ~BatchSource();
  BatchSource(const BatchSource&) = delete;
  BatchSource& operator=(const BatchSource&) = delete;

  /// Begins to prepare `round` and those after it, if there is a thread for that: they will be asked for.
  void prepare_from(std::uint64_t round);
  /// Where there is none, makes the mini-batch of `round`, which will be asked for first, on the calling thread; what
  /// that throws, batch() does.
  void prepare_first(std::uint64_t round);

  /// This rank's rows of a round (counted from 0 over all epochs); may have no rows. Valid until the next call. Throws
  /// what making it threw, also on the other thread; a later call tries again.
  [[nodiscard]] const MiniBatch& batch(std::uint64_t round);

 private:
  struct Prepared {
    MiniBatch batch;
    std::uint64_t bytes = 0;  ///< with the groups that it holds
    std::exception_ptr error;
  };

  [[nodiscard]] MiniBatch make(std::uint64_t round);
  [[nodiscard]] Prepared prepare(std::uint64_t round) noexcept;
  void run();
  void restart(std::uint64_t round);
  [[nodiscard]] bool has_room(std::size_t share) const;

  GroupCache& cache_;
  const Schedule& schedule_;
  const Options options_;
  // Of the thread that makes mini-batches:
  BatchAssembler assembler_;
  std::optional<EpochOrder> order_;
  // Of the caller:
  MiniBatch current_;
  std::optional<Prepared> first_;  // of first_round_
  std::uint64_t first_round_ = 0;

  std::mutex mutex_;  // guards all below
  std::condition_variable room_;
  std::condition_variable filled_;
  std::deque<Prepared> ready_;  // consecutive rounds
  std::uint64_t ready_bytes_ = 0;
  std::uint64_t next_ = 0;        // round that is made next
  std::uint64_t expected_ = 0;    // round that leaves the queue next, if started_
  std::uint64_t generation_ = 0;  // counts the restarts: what was begun before one is thrown away
  bool started_ = false;
  bool filling_ = false;  // the thread works until the queue is full, then rests until half of it is gone
  bool stop_ = false;
  std::jthread thread_;
};

/// Calls fn(index, group) once for every group of a split, `index` counting them in the order of storage, on at most
/// `threads` threads at once and in any order: sums belong in a place of their own for each index, to be added up in
/// order afterwards. The first exception ends it.
void for_each_group(GroupCache& cache, SplitName split, unsigned threads,
                    const std::function<void(std::size_t index, const RowGroupPtr& group)>& fn);

}  // namespace virga
