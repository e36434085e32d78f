#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "virga/cost/ledger.h"
#include "virga/cost/price_table.h"

namespace virga {

/// One line of a bill.
struct Charge {
  std::string service;  ///< "functions", "data-store", "c5.large", ...
  std::string item;     ///< "GB-seconds", "requests", "hours", "writes", "reads", "GB transferred", "VM-seconds",
                        ///< "VM-seconds of start-up"
  double amount = 0;    ///< of the item
  Usd usd;
  bool operator==(const Charge&) const = default;
};

/// What something costs, split by service and item; each pair is there at most once, in the order of the first.
class Bill {
 public:
  void add(Charge charge);
  Bill& operator+=(const Bill& other);
  [[nodiscard]] const std::vector<Charge>& charges() const noexcept { return charges_; }
  [[nodiscard]] Usd total() const noexcept;
  [[nodiscard]] Usd of_service(const std::string& service) const noexcept;
  bool operator==(const Bill&) const = default;

 private:
  std::vector<Charge> charges_;
};

/// The time for which an invocation is to be paid, rounded up as the prices say. What the platform said; where it said
/// nothing, its duration and start, or else the whole time that the driver waited for it: an answer that never came is
/// paid for as well. Nothing for one that was throttled: it did not begin.
[[nodiscard]] std::chrono::milliseconds paid_time(const InvocationRecord& record,
                                                  const FunctionPrices& prices) noexcept;

/// Nothing for an invocation on a virtual machine, which is paid for by its own record.
[[nodiscard]] Bill price(const InvocationRecord& record, const PriceTable& table);
/// Throws Error(kNotFound) for a service that the table does not have.
[[nodiscard]] Bill price(const ServiceRecord& record, const PriceTable& table);
/// From its request on, its start included, at least its smallest time. Throws Error(kNotFound) for a type that the
/// table does not have.
[[nodiscard]] Bill price(const VmRecord& record, const PriceTable& table);
[[nodiscard]] Bill price(const Ledger& ledger, const PriceTable& table);

/// A virtual machine whose start took `startup_seconds` and that was there for `seconds` after it; nothing if neither.
[[nodiscard]] Usd vm_price(const Instance& instance, double startup_seconds, double seconds);

/// Who asks for it: the platform of the virtual machines if the bill has any, else that of the functions.
[[nodiscard]] const std::string& platform_of(const Bill& bill, const PriceTable& table) noexcept;
/// For people: "would cost $0.0031 on Amazon EC2 (prices of 2025-08-01)".
[[nodiscard]] std::string would_cost(const Bill& bill, const PriceTable& table);

/// What had been spent at a time. Threads may share it.
class Spending {
 public:
  /// Throws as price().
  Spending(const Ledger& ledger, const PriceTable& table);
  /// `seconds` after the run began: of each invocation the part of its time that had passed; of a service likewise, its
  /// smallest time from its start on; of a virtual machine, its start-up as soon as it is asked for. Grows with the
  /// time up to the price of all. Costs a step for each record.
  [[nodiscard]] Usd until(double seconds) const;

 private:
  struct Part {
    double start_seconds = 0;
    double seconds = 0;
    Usd usd;                     ///< in proportion to the time
    ServicePrices prices;        ///< by the time itself
    double startup_seconds = 0;  ///< that `prices` count before the first second
  };
  std::vector<Part> parts_;
};

}  // namespace virga
