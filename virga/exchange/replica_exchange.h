#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <vector>

#include "virga/collective/all_reduce.h"
#include "virga/exchange/exchange.h"
#include "virga/exchange/staleness.h"
#include "virga/optimizer/update_rule.h"

namespace virga {

/// Where a run stands: the round that comes next, and the step of the rule (rounds of weight 0 are no steps).
struct Position {
  Round round = 0;
  std::uint64_t step = 0;
  bool operator==(const Position&) const = default;
};

/// What a rank must keep to go on bit for bit. Between synchronisations it is not defined.
struct ReplicaState {
  RuleState rule;
  Tables own;  ///< what else there is, in tables of the exchange's own making
  bool operator==(const ReplicaState&) const = default;
};

/// An exchange among ranks that share nothing but a channel: each holds a replica of the parameters, and all replicas
/// are the same whenever the ranks have *synchronised*: after each round, or after each period of several rounds that
/// each rank computes by itself. Where ranks may be rounds apart (SSP) they are synchronised on what all know of each
/// other, up to position(); this rank may have written later rounds. For one thread.
class ReplicaExchange : public Exchange {
 public:
  struct Options {
    Group group;
    AllReduce::Options all_reduce;
    std::chrono::nanoseconds patience = std::chrono::seconds(60);  ///< for the other ranks, in each synchronisation
    std::stop_token stop;                                          ///< ends a wait: the view is over
    PhaseClock* clock = nullptr;                                   ///< borrowed; told what the time goes to
  };

  /// Goes into the next synchronisation: the newest control record that this rank knows.
  void set_decree(std::uint64_t decree) noexcept { own_decree_ = decree; }
  /// The newest that any rank knew in the last one: all ranks know the same.
  [[nodiscard]] std::uint64_t decree() const noexcept { return decree_; }
  /// Up to where all ranks have the same.
  [[nodiscard]] Position position() const noexcept { return position_; }

  /// Have the ranks synchronised at the end of the last round, in which position() moved (or has none been run)?
  [[nodiscard]] bool synchronised() const noexcept { return synchronised_; }
  /// What all ranks did in the rounds between the last two synchronisations.
  [[nodiscard]] const RoundTotals& totals() const noexcept { return totals_; }
  /// Is there nothing left to gain, by the protocol's own rule? All ranks know the same.
  [[nodiscard]] virtual bool converged() const noexcept { return false; }

  /// After kDeadlineExceeded: the ranks whose messages did not come within the patience.
  [[nodiscard]] virtual std::vector<std::uint32_t> missing() const;
  [[nodiscard]] virtual Traffic traffic() const;

  /// How old the parameters of this rank's steps were, since construction; all 0 where they are never old.
  [[nodiscard]] virtual StalenessCounts staleness() const { return {}; }
  /// What became of the updates of all ranks between the last two synchronisations, as rank 0 knows it; all 0 where
  /// none can be lost.
  [[nodiscard]] virtual UpdateCounts updates() const { return {}; }

  // For ranks that have synchronised:

  /// The parameters that all agree on, to `out` of the same layout.
  virtual void copy_parameters(Tables& out) const = 0;
  [[nodiscard]] virtual double learning_rate() const noexcept = 0;
  virtual void set_learning_rate(double rate) = 0;
  virtual void scale_accumulators(double factor) = 0;

  [[nodiscard]] virtual ReplicaState save() const = 0;
  /// Takes over what save() gave at the position that this exchange starts from. Throws Error(kBadData) if it is that
  /// of another model, rule or exchange.
  virtual void load(const ReplicaState& state) = 0;
  /// Does each rank have a state of its own? Else any rank can go on from that of any other.
  [[nodiscard]] virtual bool has_own_state() const noexcept { return false; }

 protected:
  /// `channel` is borrowed; `summed` and `cuts` are of what the ranks add up.
  ReplicaExchange(Channel& channel, const Options& options, const Layout& summed, TableCuts cuts, Position start);
  /// For one that does without synchronise().
  ReplicaExchange(const Options& options, Position start);

  /// Sums up `contribution` over all ranks: they have synchronised. The sum is valid until the next
  /// call, and as long as `contribution` if there is one rank.
  [[nodiscard]] const std::vector<ContributionPart>& synchronise(Round round, const Contribution& contribution) {
    return synchronise(round, contribution, options_.patience);
  }
  [[nodiscard]] const std::vector<ContributionPart>& synchronise(Round round, const Contribution& contribution,
                                                                 std::chrono::nanoseconds patience);
  /// The ranks have synchronised in another way, and so know the same: what all did, and the newest decree.
  void agree(const SumScalars& sums) noexcept;
  [[nodiscard]] std::uint64_t own_decree() const noexcept { return own_decree_; }
  /// The rank goes on by itself.
  void go_on_alone() noexcept { synchronised_ = false; }
  /// sum / totals().weight, valid until the next call. Throws Error(kDiverged), unless all is finite.
  [[nodiscard]] std::span<const float> mean_of(std::span<const float> sum, Round round) {
    return mean_of(sum, totals_.weight, round);
  }
  [[nodiscard]] std::span<const float> mean_of(std::span<const float> sum, double weight, Round round);
  void lap(WorkPhase phase) noexcept {
    if (options_.clock != nullptr) options_.clock->lap(phase);
  }

  const Options options_;
  Position position_;
  CompactParameters compact_;

 private:
  std::optional<AllReduce> all_reduce_;
  RoundTotals totals_;
  bool synchronised_ = true;
  std::uint64_t own_decree_ = 0;
  std::uint64_t decree_ = 0;
  std::vector<float> mean_;
};

}  // namespace virga
