#pragma once

#include <exception>

#include "virga/exchange/exchange.h"

namespace virga {

/// An exchange among ranks that are threads of one process, and what the process does with it between their rounds.
class SharedExchange {
 public:
  SharedExchange() = default;
  SharedExchange(const SharedExchange&) = delete;
  SharedExchange& operator=(const SharedExchange&) = delete;
  virtual ~SharedExchange() = default;

  /// The exchange as `rank` sees it. When one of its members throws, the run is over for all ranks, and whoever called
  /// it calls abort() with the error.
  [[nodiscard]] virtual Exchange& rank(unsigned rank) = 0;
  /// Ends every wait, now and later, with `error`. Any thread may call it.
  virtual void abort(std::exception_ptr error) = 0;

  /// What all ranks did up to the last round that all have written, since the last time that there was something to
  /// tell: of that round, or, of an exchange that synchronises at the end of a period, of that period (else nothing).
  /// For rank 0 between its write() and its next one.
  [[nodiscard]] virtual const RoundTotals& totals() const noexcept = 0;
  /// Is there nothing left to gain, by the protocol's own rule?
  [[nodiscard]] virtual bool converged() const noexcept { return false; }

  // For one thread, while no rank is in a round and none may begin one (between epochs):

  /// Copies all rows as they stand before `round`, which is the next one, to `out`, whatever that was. Looking changes
  /// nothing: the bits of a run do not depend on how often it is evaluated.
  virtual void copy_parameters(Round round, Tables& out) = 0;
  [[nodiscard]] Tables parameters(Round round) {
    Tables out;
    copy_parameters(round, out);
    return out;
  }
  /// The rate from the next round on.
  virtual void set_learning_rate(double rate) = 0;
  /// See UpdateRule::scale_accumulators.
  virtual void scale_accumulators(double factor) = 0;
};

}  // namespace virga
