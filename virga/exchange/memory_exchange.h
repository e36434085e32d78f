#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <vector>

#include "virga/exchange/shared_exchange.h"
#include "virga/exchange/thread_barrier.h"
#include "virga/optimizer/update_rule.h"

namespace virga {

/// Bulk-synchronous exchange among ranks that are threads of one process: one replica with one update rule. A round's
/// contributions are summed over the balanced binary tree of adjacent ranks, divided once by their total weight and
/// applied. Each rank does so for its own range of keys, cut at equal shares of the keys present, so the work is shared
/// and the bits do not depend on who did what. It also reads that range, for all: so rows of the replica stay in the
/// caches of one core. A round whose total weight is 0 changes nothing and is no step of the rule.
///
/// Ranks meet in read() and in write(): each must call both in every round.
///
/// Memory: the replica with its state, and for each rank a few times the largest contribution.
class MemoryExchange final : public SharedExchange {
 public:
  /// Starts before round `start`; `threads`: that copy_parameters() may use. Throws what UpdateRule's constructor
  /// throws.
  MemoryExchange(unsigned ranks, const Tables& parameters, const UpdateRuleOptions& rule, Round start = 0,
                 unsigned threads = 1);
  ~MemoryExchange() override;

  [[nodiscard]] Exchange& rank(unsigned rank) override;
  void abort(std::exception_ptr error) override;
  /// Of the last round that all ranks have written; for a rank between its write() and its next one.
  [[nodiscard]] const RoundTotals& totals() const noexcept override;
  void copy_parameters(Round round, Tables& out) override;
  void set_learning_rate(double rate) override;
  void scale_accumulators(double factor) override;

 private:
  class Rank;

  UpdateRule rule_;
  ThreadBarrier meeting_;                     // what abort() ends
  ThreadBarrier all_applied_;                 // never aborted: all who passed the last meeting of a round come here
  std::vector<const Contribution*> written_;  // [ranks], of the round: set before the first meeting, read after it
  std::vector<std::unique_ptr<Rank>> views_;  // [ranks]
  const unsigned threads_;
};

}  // namespace virga
