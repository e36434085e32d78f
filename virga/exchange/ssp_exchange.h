#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "virga/collective/contribution_codec.h"
#include "virga/collective/round_inbox.h"
#include "virga/collective/table_sum.h"
#include "virga/exchange/period.h"
#include "virga/exchange/replica_exchange.h"

namespace virga {

/// Stale-synchronous parallel exchange (Ho et al., "More Effective Distributed ML via a Stale Synchronous Parallel
/// Parameter Server", NIPS 2013), without a server: ranks hand their gradients to everybody, and each waits, before
/// round r, only for the contributions to the rounds up to r - 1 - s. What it has of the rounds after that, its own and
/// those of others that have arrived, it reads, too.
///
/// Each rank has a *settled* replica: the rounds to which it knows all contributions, applied one after the other as
/// BspExchange does. It is the same on all ranks at the same position(), so it is what is saved, shown and ended with.
/// What is read are its rows, moved on by the rounds that are not settled: by the sum of what has arrived, divided by
/// the weight of all, where who has not come is taken to weigh as much as the mean of those who have. So nothing is
/// applied twice, and what has been read is forgotten once its round is settled, with any rule.
///
/// With s = 0 the bits are those of BspExchange. With s > 0 they depend on what arrived when. At the end of an epoch
/// all rounds are settled. A decree takes effect for all ranks after the same settled round, though they may be in
/// later ones; those are lost.
///
/// Messages: each round one put, for everybody, and ranks - 1 gets, by RoundInbox. Memory: two replicas with their
/// states, and up to s + 1 rounds of contributions of all ranks with their sums.
class SspExchange final : public ReplicaExchange {
 public:
  struct Slack {
    std::uint32_t staleness = 0;         ///< s, in rounds
    std::uint64_t rounds_per_epoch = 1;  ///< after which all is settled
  };
  /// Starts before `start`. `channel` is borrowed. Throws what UpdateRule's constructor throws.
  SspExchange(Channel& channel, const Options& options, const Tables& parameters, const UpdateRuleOptions& rule,
              const Slack& slack, Position start = {});

  [[nodiscard]] const CompactParameters& read(Round round, std::span<const std::uint32_t> keys) override;
  /// Throws Error(kDeadlineExceeded) if a contribution that must be waited for does not come within the patience.
  void write(Round round, const Contribution& contribution) override;

  [[nodiscard]] std::vector<std::uint32_t> missing() const override { return missing_; }
  [[nodiscard]] Traffic traffic() const override { return traffic_; }
  [[nodiscard]] StalenessCounts staleness() const override { return staleness_; }

  void copy_parameters(Tables& out) const override { settled_.copy_parameters(position_.step, out); }
  [[nodiscard]] double learning_rate() const noexcept override { return settled_.options().learning_rate; }
  void set_learning_rate(double rate) override;
  void scale_accumulators(double factor) override;
  [[nodiscard]] ReplicaState save() const override { return {settled_.save(), Tables()}; }
  void load(const ReplicaState& state) override;

 private:
  /// A round that is not settled.
  struct OpenRound {
    OpenRound(std::size_t ranks, std::size_t tables);
    std::vector<ContributionPart> parts;  // [ranks]; of who has not come yet: of no weight, with empty tables
    std::vector<bool> has_come;           // [ranks]
    std::uint32_t come = 0;
    std::vector<SharedBytes> held;  // what parts refer to
    Contribution own;
    std::vector<TableSum> table_sums;  // [tables]
    ContributionPart sum;              // of the parts, if it is of `summed` of them
    std::uint32_t summed = 0;
  };

  [[nodiscard]] OpenRound& open(Round round);
  [[nodiscard]] const ContributionPart& sum_of(OpenRound& round);
  void hand_out(Round round, const Contribution& contribution);
  void accept(const std::vector<RoundInbox::Arrival>& arrivals);
  void wait_for_some();
  void settle(SumScalars& settled);
  void retire();
  [[nodiscard]] std::size_t rounds_to_look_ahead(Round round) const noexcept;
  void copy_to_ahead(std::span<const std::uint32_t> keys);
  void look_ahead(OpenRound& open_round, Round round, std::uint64_t step, std::span<const std::uint32_t> keys);

  Channel& channel_;
  const Slack slack_;
  const TableCuts whole_;  // one range of all
  UpdateRule settled_;
  UpdateRule ahead_;            // scratch: the rows that are read
  Round next_;                  // of this rank's own
  std::deque<OpenRound> open_;  // from position_.round on
  std::vector<std::uint32_t> missing_;
  Traffic traffic_;
  StalenessCounts staleness_;
  std::uint64_t unretired_bytes_ = 0;
  std::uint64_t unretired_rounds_ = 0;
  Bytes storage_;  // of the message that is being put
  std::vector<float> rows_;
  RowStates states_;
  std::vector<std::uint32_t> some_keys_;
  std::vector<float> some_values_;
  std::unique_ptr<RoundInbox> inbox_;
};

}  // namespace virga
