#pragma once

#include <vector>

#include "virga/exchange/replica_exchange.h"

namespace virga {

/// Bulk-synchronous exchange: in each round the ranks add up their gradients, and each applies the same mean to its
/// replica. Bit for bit what MemoryExchange does with as many ranks.
///
/// Memory: the replica with its state, and what AllReduce takes.
class BspExchange final : public ReplicaExchange {
 public:
  /// Starts before `start`. `channel` is borrowed. Throws what UpdateRule's constructor throws.
  BspExchange(Channel& channel, const Options& options, const Tables& parameters, const UpdateRuleOptions& rule,
              TableCuts cuts, Position start = {});

  [[nodiscard]] const CompactParameters& read(Round round, std::span<const std::uint32_t> keys) override;
  /// Throws what AllReduce throws.
  void write(Round round, const Contribution& contribution) override;

  void copy_parameters(Tables& out) const override { rule_.copy_parameters(position_.step, out); }
  [[nodiscard]] double learning_rate() const noexcept override { return rule_.options().learning_rate; }
  void set_learning_rate(double rate) override { rule_.set_learning_rate(position_.step, rate); }
  void scale_accumulators(double factor) override { rule_.scale_accumulators(position_.step, factor); }
  [[nodiscard]] ReplicaState save() const override { return {rule_.save(), Tables()}; }
  void load(const ReplicaState& state) override { rule_.load(position_.step, state.rule); }

 private:
  void apply(const ContributionPart& sum, Round round);

  UpdateRule rule_;
};

/// The rows of `rule` that a mini-batch with `keys` needs before `step`, to `out`.
void read_rows(const UpdateRule& rule, std::uint64_t step, std::span<const std::uint32_t> keys, CompactParameters& out);

}  // namespace virga
