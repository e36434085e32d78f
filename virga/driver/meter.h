#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "virga/cost/ledger.h"
#include "virga/cost/price_table.h"
#include "virga/cost/usd.h"
#include "virga/cost/wall_account.h"
#include "virga/engine/engine.h"

namespace virga {

/// Gives stretches of the driver's own time their names.
class StretchClock {
 public:
  using Clock = std::chrono::steady_clock;
  /// Times since `origin`, which may be earlier. `stretches` is borrowed.
  StretchClock(Clock::time_point origin, std::vector<DriverStretch>& stretches)
      : origin_(origin), stretches_(stretches) {}
  /// What was done since the last lap, or since the origin.
  void lap(std::string what);

 private:
  const Clock::time_point origin_;
  std::vector<DriverStretch>& stretches_;
};

/// The virtual machines of a run, one for each worker, from the moment when they are asked for.
struct VmFleet {
  std::string instance;  ///< their type: find_instance()
  std::uint32_t count = 1;
  double startup_seconds = 0;  ///< until they run: reckoned, not waited for
};
/// With the start-up that the prices know.
[[nodiscard]] VmFleet vm_fleet(const PriceTable& prices, const std::string& instance, std::uint32_t count);

/// Meters a run's invocations from its driver: each is a record of the ledger as soon as it is over. For one thread.
class InvocationMeter {
 public:
  using Clock = std::chrono::steady_clock;

  /// `origin`: when the run began; records tell times since. `ledger`: a file to append to; empty: none. `fleet`: where
  /// invocations work, asked for now; none: they are functions. `prices` are borrowed. Throws Error(kIo, kConflict).
  InvocationMeter(Clock::time_point origin, const std::filesystem::path& ledger, std::uint64_t memory_bytes,
                  const PriceTable& prices, std::optional<VmFleet> fleet = {});

  void began(Engine::Invocation invocation, const Payload& payload);
  /// `lost`: it was given up, and what it did does not count.
  void ended(const Engine::Ended& ended, bool lost);
  /// All that still runs is given up.
  void abandon();
  /// The virtual machines are given back, if there are any: nobody works on them any more.
  void give_back_machines();
  /// A service that was there from `from` until now.
  void service(const std::string& name, Clock::time_point from, std::uint64_t writes, std::uint64_t reads,
               std::uint64_t bytes);

  /// For invocations so far, those under way for the time until now; virtual machines likewise.
  [[nodiscard]] Usd spent() const;
  [[nodiscard]] Usd service_price(const std::string& name, Clock::time_point from) const;
  [[nodiscard]] const Ledger& ledger() const noexcept { return ledger_; }
  /// Of one that runs.
  [[nodiscard]] Clock::time_point since(Engine::Invocation invocation) const { return running_.at(invocation).since; }
  [[nodiscard]] double seconds_since_origin(Clock::time_point time) const noexcept;

 private:
  struct Running {
    Clock::time_point since;
    Payload payload;
  };
  void add(InvocationRecord record);
  [[nodiscard]] InvocationRecord record_of(const Running& running) const;
  [[nodiscard]] double seconds_of_machines() const;

  const Clock::time_point origin_;
  const std::uint64_t memory_bytes_;
  const PriceTable& prices_;
  const std::string instance_;  // where invocations work; empty: they are functions
  const Clock::time_point machines_since_ = Clock::now();
  std::optional<VmFleet> fleet_;  // until it is given back
  std::optional<LedgerWriter> writer_;
  std::map<Engine::Invocation, Running> running_;
  Ledger ledger_;
  Usd spent_;  // for those that are over
};

}  // namespace virga
