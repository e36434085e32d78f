#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "virga/exchange/period.h"
#include "virga/exchange/replica_exchange.h"
#include "virga/exchange/touched_rows.h"

namespace virga {

/// Expectation maximisation (Dempster, Laird, Rubin 1977), of which k-means is a case: an epoch is one step of it.
struct EmOptions {
  /// What ranks add up: tables of doubles.
  Layout statistics;
  /// The maximisation: turns `parameters` into those that suit `statistics` (all of each table, in layout order) best.
  /// A pure function of its arguments; `epoch` counts from 0. Returns whether the loss at the new parameters says how
  /// far the old ones were from the best: not if it has also begun something anew.
  std::function<bool(std::span<const std::vector<double>> statistics, std::uint32_t epoch, Tables& parameters)>
      maximise;
  /// The run has converged when an epoch has lowered the mean loss by no more than this part of it, or, if it is
  /// `absolute`, by no more than this. Epochs before and after a maximisation that began something anew are not
  /// compared.
  double tolerance = 1e-4;
  bool absolute = false;
};

/// Expectation maximisation among ranks: in each round a rank adds the statistics of its rows to those that it has; at
/// the end of the epoch all ranks add up theirs, in doubles, and each applies the same maximisation to its replica. All
/// rounds of an epoch are computed from the same parameters. An epoch without weight changes nothing.
///
/// The mean loss that is compared is of the parameters that the epoch began with, so the run has converged one step
/// before the ranks see it, and that step has been taken.
///
/// What travels is, of sparse tables, the rows that the rank has touched in the epoch. Deterministic: the bits depend
/// on the ranks' rows and the rounds that they are cut into.
///
/// Memory: the parameters twice, the statistics three times (own, in a contribution, the sum), and what AllReduce
/// takes.
class EmExchange final : public ReplicaExchange {
 public:
  /// Starts before `start`, which is at the beginning of an epoch. `channel` is borrowed; `cuts` are those of
  /// em.statistics. All tables of `parameters` are whole.
  EmExchange(Channel& channel, const Options& options, const Tables& parameters, EmOptions em,
             std::uint64_t rounds_per_epoch, TableCuts cuts, Position start = {});

  [[nodiscard]] const CompactParameters& read(Round round, std::span<const std::uint32_t> keys) override;
  void write(Round round, const Contribution& contribution) override;
  [[nodiscard]] bool converged() const noexcept override { return converged_; }

  void copy_parameters(Tables& out) const override;
  [[nodiscard]] double learning_rate() const noexcept override { return 0; }
  void set_learning_rate(double /*rate*/) override {}
  void scale_accumulators(double /*factor*/) override {}
  [[nodiscard]] ReplicaState save() const override;
  void load(const ReplicaState& state) override;

 private:
  void add(const Contribution& contribution);
  [[nodiscard]] Contribution gathered();
  void maximise(Round round);
  void take(const std::vector<ContributionPart>& sums);
  void judge(bool comparable);

  const EmOptions em_;
  const Period period_;
  Tables parameters_;
  std::vector<std::vector<double>> own_;  // [tables] of the epoch so far
  std::vector<TouchedRows> touched_;      // [tables] rows of own_ that are not 0
  RoundTotals own_totals_;
  std::vector<std::vector<double>> sum_;  // [tables] of all ranks
  std::optional<double> mean_loss_;       // of the last epoch, if it may be compared; has the digits of two floats
  bool converged_ = false;
};

}  // namespace virga
