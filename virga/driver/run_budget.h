#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "virga/driver/meter.h"
#include "virga/policy/budget.h"
#include "virga/storage/object_store.h"

namespace virga {

/// The leases of one run's invocations (policy/budget.h), and how long one of them may live: so long that the sum lasts
/// for several generations of workers, because what is leased and not used comes back only when an invocation ends.
/// Virtual machines are paid for by the time alone: the sum says until when they may be there, and what works on them
/// is leased until then for nothing. Times are seconds since the run began. For one thread.
class RunBudget {
 public:
  struct Options {
    Usd limit;
    Usd paid;  ///< by earlier drivers of this run
    std::uint32_t workers = 1;
    bool validates = true;
    std::uint64_t memory_bytes = 0;        ///< of a function
    std::chrono::milliseconds lifetime{};  ///< of an invocation, at most
    std::chrono::milliseconds overrun{};   ///< for which an invocation may be billed beyond its lifetime
    std::vector<std::string> services;     ///< that are there from now on, by their names in the price table
    Usd least_requests = {};               ///< that an invocation needs for requests that are billed; nothing: none are
    /// In the place of functions, asked for now; and for how long they may stay after their driver died.
    std::optional<VmFleet> fleet = {};
    std::chrono::milliseconds orphan_timeout{60'000};
  };
  enum class Use : std::uint8_t { kWorker, kEvaluation, kLastEvaluation };

  /// Throws Error(kBudgetExhausted), naming a sum that would do, if workers cannot even begin; Error(kNotFound) for a
  /// service without a price.
  RunBudget(Options options, PriceTable table, double now_seconds);

  /// Of each invocation: whole seconds, or that of the options.
  [[nodiscard]] std::chrono::milliseconds lifetime() const noexcept { return lifetime_; }
  /// None: the sum is not there. For a last evaluation something has been kept back.
  [[nodiscard]] std::optional<Budget::Ticket> lease(Use use, double now_seconds);
  void settle(Budget::Ticket ticket, Usd paid) {
    if (budget_) budget_->settle(ticket, paid);
  }
  /// What a worker may spend on requests, which its lease holds besides its time; nothing, where none are billed.
  [[nodiscard]] Usd requests() const noexcept { return requests_; }
  [[nodiscard]] Usd least_requests() const noexcept { return options_.least_requests; }
  /// The driver's own requests.
  void pay(Usd usd) {
    if (budget_) budget_->pay(usd);
  }
  /// Could all workers begin so many times more, though all that is leased were spent? Of machines: may they work on?
  [[nodiscard]] bool has_generations(std::uint32_t generations, double now_seconds);
  /// All that may have been spent when what is outstanding is over; of machines, if this was the last word of their
  /// driver, or the next one comes within `kLeaseSeconds`.
  [[nodiscard]] Usd leased(double now_seconds) const;
  static constexpr double kLeaseSeconds = 10;
  /// Machines must be given back by then; never, without machines or a limit.
  [[nodiscard]] double end_seconds() const noexcept { return end_seconds_; }
  [[nodiscard]] Usd limit() const noexcept { return options_.limit; }
  [[nodiscard]] Usd paid_before() const noexcept { return options_.paid; }

 private:
  [[nodiscard]] Budget::Wish wish(std::uint32_t count, std::chrono::milliseconds lifetime) const;
  [[nodiscard]] Usd price_of_one(std::chrono::milliseconds lifetime) const;
  [[nodiscard]] bool open(std::uint32_t generations, std::chrono::milliseconds lifetime, double now_seconds);
  [[nodiscard]] bool choose_lifetime(std::uint32_t generations, std::chrono::milliseconds least, double now_seconds);
  [[nodiscard]] Usd least() const;
  void open_machines(double now_seconds);
  [[nodiscard]] Usd paid_until(double end_seconds) const;

  Options options_;
  PriceTable table_;
  std::chrono::milliseconds lifetime_{};
  Usd requests_;
  std::optional<Budget> budget_;  // of functions: made with the lifetime
  double machines_since_ = 0;
  double end_seconds_ = std::numeric_limits<double>::infinity();
};

/// What a driver may have spent at most, kept at the run's URI while it goes on, as the object leased.json
/// (docs/formats/ledger.md): one that dies leaves no record of what it had under way. Throws as ObjectStore::put().
void keep_leased(ObjectStore& run, Usd leased);
/// What it wrote; pure. Throws Error(kCorrupt).
[[nodiscard]] Usd parse_leased(std::string_view text);
/// None if there is no such object. Throws Error(kCorrupt), and as ObjectStore::get().
[[nodiscard]] std::optional<Usd> read_leased(const ObjectStore& run);

}  // namespace virga
