#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "virga/exchange/shared_exchange.h"
#include "virga/optimizer/update_rule.h"

namespace virga {

/// The exchange of one rank whose rounds several threads take by turns: of `runners`, runner i takes the rounds start +
/// i, start + i + runners, ... A round's gradient needs the parameters that the round before has left, so gradients
/// and steps come one after the other. Beside them the next runner prepares its mini-batch and fetches the rows that
/// only it needs, and the last one puts back the rows that only it needed. Rows that two adjacent rounds share, which
/// are many, pass from one runner to the next without a way through the replica. The bits are those of MemoryExchange
/// with one rank.
///
/// rank(i) is runner i. It calls read(r) and write(r) for its own rounds; the contribution to a round has the keys that
/// were read, or no weight. read() returns when the round before is written.
///
/// Memory: the replica with its state, and for each runner a few times the largest contribution.
class RelayExchange final : public SharedExchange {
 public:
  struct Options {
    unsigned runners = 2;  ///< at least 2
    Round start = 0;
    unsigned threads = 1;  ///< that copy_parameters() may use
    /// Told of each round once it is written, by its runner and before the next one goes on: totals() are its own.
    std::function<void(Round)> completed;
  };

  /// Throws what UpdateRule's constructor throws.
  RelayExchange(const Tables& parameters, const UpdateRuleOptions& rule, Options options);
  ~RelayExchange() override;

  [[nodiscard]] Exchange& rank(unsigned runner) override;
  void abort(std::exception_ptr error) override;
  /// Of the last round that was written; for Options::completed, and between epochs.
  [[nodiscard]] const RoundTotals& totals() const noexcept override { return totals_; }
  void copy_parameters(Round round, Tables& out) override;
  void set_learning_rate(double rate) override;
  void scale_accumulators(double factor) override;

 private:
  class Runner;

  [[nodiscard]] Runner& runner_of(Round round) noexcept;
  /// Brings all rows back into the replica; the next round finds them there.
  void collect();
  [[noreturn]] void throw_error();

  UpdateRule rule_;
  const Options options_;
  std::vector<std::unique_ptr<Runner>> runners_;  // [runners]
  std::atomic<bool> aborted_ = false;
  std::mutex mutex_;  // guards error_
  std::exception_ptr error_;

  // Whose turn it is writes these, and whoever calls between epochs:
  RoundTotals totals_;
  std::uint64_t step_;  // of the rule; rounds of weight 0 are none
  Round next_;          // that nobody has written yet
  Round base_;          // before which all rows were in the replica
  std::uint64_t base_step_;
};

}  // namespace virga
