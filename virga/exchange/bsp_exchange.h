#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <stop_token>
#include <vector>

#include "virga/collective/all_reduce.h"
#include "virga/exchange/exchange.h"
#include "virga/optimizer/update_rule.h"

namespace virga {

/// Where a run stands: the round that comes next, and the step of the rule (rounds of weight 0 are no steps).
struct Position {
  Round round = 0;
  std::uint64_t step = 0;
  bool operator==(const Position&) const = default;
};

/// Bulk-synchronous exchange among ranks that share nothing but a channel: each holds a replica of the parameters and
/// the rule's state, and applies the same sum to it. Bit for bit what MemoryExchange does with as many ranks.
///
/// Memory: the replica with its state, and what AllReduce takes.
class BspExchange final : public Exchange {
 public:
  struct Options {
    Group group;
    AllReduce::Options all_reduce;
    std::chrono::nanoseconds patience = std::chrono::seconds(60);  ///< for the other ranks, in each round
    std::stop_token stop;                                          ///< ends a wait: the view is over
    PhaseClock* clock = nullptr;                                   ///< borrowed; told what the time goes to
  };
  /// Starts before `start`. `channel` is borrowed. Throws what UpdateRule's constructor throws.
  BspExchange(Channel& channel, const Options& options, const Tables& parameters, const UpdateRuleOptions& rule,
              TableCuts cuts, Position start = {});

  [[nodiscard]] const CompactParameters& read(Round round, std::span<const std::uint32_t> keys) override;
  /// Throws what AllReduce throws.
  void write(Round round, const Contribution& contribution) override;

  /// Goes into the next contribution: the newest control record that this rank knows.
  void set_decree(std::uint64_t decree) noexcept { own_decree_ = decree; }
  /// The newest that any rank knew in the last round: all ranks know the same.
  [[nodiscard]] std::uint64_t decree() const noexcept { return decree_; }
  [[nodiscard]] const RoundTotals& totals() const noexcept { return totals_; }  ///< of the last round
  [[nodiscard]] Position position() const noexcept { return position_; }
  /// After kDeadlineExceeded: the ranks whose messages did not come within the patience.
  [[nodiscard]] const std::vector<std::uint32_t>& missing() const noexcept { return all_reduce_.missing(); }
  [[nodiscard]] const Traffic& traffic() const noexcept { return all_reduce_.traffic(); }

  /// The replica between rounds: for snapshots, checkpoints and changes of the rate.
  [[nodiscard]] UpdateRule& rule() noexcept { return rule_; }

 private:
  void apply(const ContributionPart& sum);
  void lap(WorkPhase phase) noexcept {
    if (options_.clock != nullptr) options_.clock->lap(phase);
  }
  [[nodiscard]] std::span<const float> mean_of(std::span<const float> sum);

  const Options options_;
  UpdateRule rule_;
  AllReduce all_reduce_;
  Position position_;
  RoundTotals totals_;
  std::uint64_t own_decree_ = 0;
  std::uint64_t decree_ = 0;
  CompactParameters compact_;
  std::vector<float> mean_;
};

}  // namespace virga
