#pragma once

#include <optional>
#include <string>
#include <vector>

#include "virga/base/deadline.h"
#include "virga/channel/register.h"
#include "virga/exchange/period.h"
#include "virga/exchange/replica_exchange.h"

namespace virga {

/// Asynchronous parallel exchange over one global model in storage (SIREN: Wang, Niu, Li, "Distributed Machine Learning
/// with a Serverless Architecture", INFOCOM 2019; LambdaML's ASP): in each round a rank reads the whole model from a
/// register, makes its own step by the mean gradient of its own rows, and writes the whole model back, whatever the
/// others do meanwhile. Writes do not look at what they replace, so updates that came between read and write are lost.
/// They are counted: a version of the register is an update, and says how many have led to it, one after the other.
///
/// The states of the update rule (velocities, accumulators, moments) are each rank's own. A rank out of rows neither
/// steps nor writes. Steps are the rank's own, too.
///
/// Within a period ranks do not wait for each other; at its end they meet, by one AllReduce of totals and decree, so
/// that checkpoints, snapshots and ends have a place. Then the model is that of the register once all have written (and
/// perhaps the first steps of those that have gone on); rank 0 reads it. There a rank waits for its patience and as
/// long again as its own period took: others may be slower, as nothing held it up. With one rank the bits are those of
/// BspExchange; with more they depend on who came when.
///
/// The register is the view's own, "global/<view>": rank 0 puts the model there that the view starts from, the others
/// wait for it. What a rank of an older view writes late, nobody reads.
///
/// Each round: one read and one write of the register, of the whole model. Memory: a replica with its states, and three
/// times the parameters.
class AspExchange final : public ReplicaExchange {
 public:
  /// Starts before `start`, which is at the beginning of a period. `channel` and `models` are borrowed. Throws what
  /// UpdateRule's constructor throws, and Error(kTooLarge) for a model that does not fit into a register.
  AspExchange(Channel& channel, Register& models, const Options& options, const Tables& parameters,
              const UpdateRuleOptions& rule, const Period& period, Position start = {});

  [[nodiscard]] static std::string register_name(std::uint32_t view);  ///< "global/3"

  /// Throws what the register throws, and Error(kCorrupt).
  [[nodiscard]] const CompactParameters& read(Round round, std::span<const std::uint32_t> keys) override;
  void write(Round round, const Contribution& contribution) override;

  [[nodiscard]] std::vector<std::uint32_t> missing() const override;
  [[nodiscard]] Traffic traffic() const override;
  [[nodiscard]] StalenessCounts staleness() const override { return staleness_; }
  [[nodiscard]] UpdateCounts updates() const override { return updates_; }

  /// Of rank 0: the global model. Of others: what they have read last and stepped on.
  void copy_parameters(Tables& out) const override { rule_.copy_parameters(position_.step, out); }
  [[nodiscard]] double learning_rate() const noexcept override { return rule_.options().learning_rate; }
  void set_learning_rate(double rate) override { rule_.set_learning_rate(position_.step, rate); }
  void scale_accumulators(double factor) override { rule_.scale_accumulators(position_.step, factor); }
  [[nodiscard]] ReplicaState save() const override { return {rule_.save(), Tables()}; }
  void load(const ReplicaState& state) override { rule_.load(position_.step, state.rule); }
  [[nodiscard]] bool has_own_state() const noexcept override { return options_.group.size > 1 && rule_.states() > 0; }

 private:
  [[nodiscard]] Wait wait() const { return {Deadline::in(options_.patience), options_.stop}; }
  void open();
  void fetch();
  void take(const RegisterValue& value);
  void put_back();
  void meet(Round round);

  Register& models_;
  const Period period_;
  const std::string name_;
  UpdateRule rule_;
  Tables model_;                                      // as it travels
  std::vector<std::vector<std::uint32_t>> all_keys_;  // [tables]; none of one that is not sparse
  std::optional<std::uint64_t> version_;              // of the register that rule_ is of: read or written by this rank
  std::uint64_t opened_ = 0;                          // version that the view began with
  std::uint64_t chain_ = 0;                           // updates that have led to version_, one after the other
  bool waits_for_model_ = false;
  RoundTotals own_totals_;
  std::optional<Deadline::Clock::time_point> period_began_;
  StalenessCounts staleness_;
  UpdateCounts all_updates_;  // rank 0: of all ranks in this view, as of the last meeting
  UpdateCounts updates_;      // and between the last two
  Traffic traffic_;
  std::vector<float> gradient_;
  std::vector<float> rows_;
  RowStates states_;
};

}  // namespace virga
