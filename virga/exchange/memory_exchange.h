#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "virga/exchange/exchange.h"
#include "virga/optimizer/update_rule.h"

namespace virga {

/// Bulk-synchronous exchange among ranks that are threads of one process: one replica, one update rule. A round's
/// contributions are summed over the balanced binary tree of adjacent ranks, divided once by their total weight and
/// applied; each rank does so for its own range of keys, so the work is shared and the bits do not depend on who did
/// what.
class MemoryExchange {
 public:
  MemoryExchange(unsigned ranks, Tables parameters, const UpdateRuleOptions& rule);
  ~MemoryExchange();

  /// The exchange as `rank` sees it.
  [[nodiscard]] Exchange& rank(unsigned rank);
  /// Ends every wait, now and later, with `error`.
  void abort(std::exception_ptr error);

  // For one thread, while no rank is in a round (between epochs), `round` being the next one:
  /// All rows caught up. Valid until the next round.
  [[nodiscard]] const Tables& parameters(Round round);
  void set_learning_rate(double rate);
  void scale_accumulators(double factor);

  /// Of the last round that all ranks have written; for a rank after its write().
  [[nodiscard]] const RoundTotals& totals() const noexcept { return totals_; }

 private:
  class Rank;
  void meet();
  void reduce_and_apply(Round round, unsigned rank);

  const unsigned ranks_;
  Tables parameters_;
  UpdateRule rule_;
  std::vector<const Contribution*> written_;  // [ranks], of the round; set before the first meeting, read after it
  RoundTotals totals_;
  std::vector<std::unique_ptr<Rank>> views_;

  std::mutex mutex_;  // guards what follows, but for the spinning reads
  std::condition_variable met_;
  unsigned waiting_ = 0;
  std::atomic<std::uint64_t> meetings_{0};
  std::atomic<bool> aborted_{false};
  std::exception_ptr error_;
};

}  // namespace virga
