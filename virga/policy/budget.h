#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "virga/cost/price_table.h"

namespace virga {

/// Keeps a run within a sum of money: a pure state machine without a clock of its own. Money is leased before it is
/// spent. What is never above the budget is
///   what was paid + what outstanding invocations may still cost + what running services will have cost when the last
///   of them may have ended and the run has closed + what is kept back for the end.
/// So the sum is kept whatever happens, if each invocation has ended, and is billed for no more than its reservation,
/// by the end of that, and services are stopped within `closing_seconds` of it. Times are seconds since the run began,
/// which never go back.
class Budget {
 public:
  struct Options {
    Usd limit;
    Usd paid;                    ///< before: by the drivers of this run that came earlier
    double closing_seconds = 0;  ///< from the end of the last invocation until services are stopped
    Usd kept_back;               ///< for invocations of the end, and requests of the end
    double end_seconds = 0;      ///< for which services are paid for besides, for invocations of the end
  };
  using Ticket = std::uint64_t;

  /// Invocations that begin together.
  struct Wish {
    std::uint32_t count = 1;
    std::uint64_t memory_bytes = 0;
    std::chrono::milliseconds timeout{};  ///< of one attempt, as the platform will bill it at most: init included
    std::uint32_t attempts = 1;           ///< that one may have, one after the other; at least 1
    Usd requests;                         ///< for what one asks of services that count requests, in all its attempts
    bool of_the_end = false;              ///< may take of what is kept back
  };
  struct Grant {
    std::vector<Ticket> tickets;  ///< `count` of them; none if refused
    /// If refused: with this timeout all of them would have been granted; 0: with none. The lifetime is to be shortened
    /// to it, or, if that is too short to be of use, the run is to end with the checkpoints that it has.
    std::chrono::milliseconds fits{};
    [[nodiscard]] bool granted() const noexcept { return !tickets.empty(); }
  };

  /// Throws Error(kBudgetExhausted) if what was paid and what is kept back are above the limit already.
  Budget(Options options, PriceTable table);

  /// A service is there from now on. Throws Error(kBudgetExhausted), naming the sum that it needs at least, if that is
  /// not there; Error(kNotFound) if it has no price.
  void start_service(const std::string& service, double now_seconds);
  void stop_service(const std::string& service, double now_seconds);

  [[nodiscard]] Grant reserve(const Wish& wish, double now_seconds);
  /// It is over: it was `paid` (bill.h, price()), attempts and requests together. The rest of its reservation is free.
  void settle(Ticket ticket, Usd paid);
  /// Something else was paid, that no reservation is for.
  void pay(Usd usd) { paid_ += usd; }

  /// Paid so far, services up to now.
  [[nodiscard]] Usd spent(double now_seconds) const;
  /// Of the budget, not paid, reserved, due or kept back; never below 0.
  [[nodiscard]] Usd remaining(double now_seconds) const;
  [[nodiscard]] Usd limit() const noexcept { return options_.limit; }
  [[nodiscard]] std::size_t outstanding() const noexcept { return reservations_.size(); }
  /// When all that is outstanding may have ended; `now_seconds` if nothing is.
  [[nodiscard]] double horizon(double now_seconds) const noexcept;

 private:
  struct Reservation {
    Usd usd;
    double end_seconds = 0;
    bool of_the_end = false;
  };
  [[nodiscard]] Usd cost_of_one(const Wish& wish, std::chrono::milliseconds timeout) const;
  [[nodiscard]] bool fits(const Wish& wish, std::chrono::milliseconds timeout, double now_seconds) const;
  [[nodiscard]] Usd services_until(double seconds) const;
  /// When the last invocations end.
  struct Horizon {
    double usual = 0;
    double of_the_end = 0;
  };
  [[nodiscard]] Horizon horizons(double now_seconds) const noexcept;
  /// All that will have been paid if nothing more is reserved.
  [[nodiscard]] Usd committed(const Horizon& horizon, Usd more, Usd more_of_the_end) const;

  Options options_;
  PriceTable table_;
  Usd paid_;
  Usd paid_of_the_end_;                     // of what is kept back
  std::map<std::string, double> services_;  // name -> start
  std::map<Ticket, Reservation> reservations_;
  Ticket next_ = 1;
};

}  // namespace virga
