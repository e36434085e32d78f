#pragma once

#include <exception>
#include <memory>
#include <mutex>
#include <stop_token>
#include <vector>

#include "virga/channel/memory_channel.h"
#include "virga/exchange/em_exchange.h"
#include "virga/exchange/shared_exchange.h"

namespace virga {

/// Expectation maximisation among ranks that are threads of one process: each has an EmExchange, over a channel in
/// memory. So the bits are those of as many functions. A run that is stopped within an epoch has not maximised what it
/// has summed up so far.
class EmThreads final : public SharedExchange {
 public:
  EmThreads(unsigned ranks, const Tables& parameters, const EmOptions& em, std::uint64_t rounds_per_epoch);
  ~EmThreads() override;

  [[nodiscard]] Exchange& rank(unsigned rank) override;
  void abort(std::exception_ptr error) override;
  [[nodiscard]] const RoundTotals& totals() const noexcept override;
  [[nodiscard]] bool converged() const noexcept override { return exchanges_[0]->converged(); }
  void copy_parameters(Round round, Tables& out) override;
  void set_learning_rate(double /*rate*/) override {}
  void scale_accumulators(double /*factor*/) override {}

 private:
  class Rank;
  void throw_if_aborted();

  MemoryChannel channel_;
  std::stop_source stop_;
  std::mutex mutex_;  // guards error_
  std::exception_ptr error_;
  std::vector<std::unique_ptr<EmExchange>> exchanges_;  // [ranks]
  std::vector<std::unique_ptr<Rank>> ranks_;            // [ranks]
  const Layout layout_;
};

}  // namespace virga
