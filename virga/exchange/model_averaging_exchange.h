#pragma once

#include <vector>

#include "virga/exchange/period.h"
#include "virga/exchange/replica_exchange.h"
#include "virga/exchange/touched_rows.h"

namespace virga {

/// Model averaging (LambdaML's MA-SGD; local SGD): in each round a rank applies the mean gradient of its own rows to
/// its own replica; at the end of a period all ranks take the mean of their replicas, each weighted by the weight of
/// what it has seen since the last time. The update rule's states are averaged in the same way, so that nothing but the
/// mean need be kept. Every round is a step, also for a rank that has no rows in it.
///
/// What travels is how far a rank has moved the rows that it has touched since the last mean, so sparse stays sparse.
/// Deterministic: the bits depend on the ranks' rows and on the period.
///
/// Memory: two replicas with their states (the last mean, and the rank's own), and what AllReduce takes.
class ModelAveragingExchange final : public ReplicaExchange {
 public:
  /// Starts before `start`, which is at the beginning of a period. `channel` is borrowed; `cuts` are those of
  /// summed_layout(). Throws what UpdateRule's constructor throws.
  ModelAveragingExchange(Channel& channel, const Options& options, const Tables& parameters,
                         const UpdateRuleOptions& rule, const Period& period, TableCuts cuts, Position start = {});

  /// What ranks add up: parameters, then their states.
  [[nodiscard]] static Layout summed_layout(const Layout& parameters, RuleKind rule);

  [[nodiscard]] const CompactParameters& read(Round round, std::span<const std::uint32_t> keys) override;
  void write(Round round, const Contribution& contribution) override;

  void copy_parameters(Tables& out) const override { mean_rule_.copy_parameters(position_.step, out); }
  [[nodiscard]] double learning_rate() const noexcept override { return rule_.options().learning_rate; }
  void set_learning_rate(double rate) override;
  void scale_accumulators(double factor) override;
  [[nodiscard]] ReplicaState save() const override { return {mean_rule_.save(), Tables()}; }
  void load(const ReplicaState& state) override;

 private:
  void average(Round round);
  [[nodiscard]] Contribution moved() const;
  void take(const ContributionPart& sum, Round round);

  const Period period_;
  const Layout summed_;
  UpdateRule rule_;       // this rank's own
  UpdateRule mean_rule_;  // as of the last mean: its rows have not been touched since
  std::vector<TouchedRows> touched_;
  RoundTotals own_totals_;
  std::vector<float> gradient_;
};

}  // namespace virga
