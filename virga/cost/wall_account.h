#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "virga/cost/summary.h"

namespace virga {

/// A stretch of the run in which the driver itself was at work: "services", "learning-rate search", "model". Times
/// since the run began.
struct DriverStretch {
  std::string what;
  double start_seconds = 0;
  double seconds = 0;
};

/// What the wall time of a run went to, along its critical path. The path is followed from the end of the run to its
/// beginning: of the invocations that are under way, the one that had begun first is followed back to its beginning,
/// and so on from there; where none is under way, the driver. An invocation counts for its part of the path:
///   - `groups`: its init and its phases;
///   - `platform`: what the driver waited for it beyond its init and duration, if the platform says the duration: the
///     queue, the way of the event and of the answer;
///   - `lost`: all of it, if it gave no answer: what it did was done again, or not at all;
///   - `unaccounted`: the rest, which no phase claims.
/// `driver` are the driver's own stretches where no invocation was under way; what neither fills is unaccounted.
struct WallAccount {
  double wall_seconds = 0;
  GroupSeconds groups{};
  double platform_seconds = 0;
  double lost_seconds = 0;
  double driver_seconds = 0;
  double unaccounted_seconds = 0;
  /// From 0 to 1; 1 for a run that took no time.
  [[nodiscard]] double accounted_share() const noexcept;
  bool operator==(const WallAccount&) const = default;
};

/// `wall_seconds`: from the beginning of the run to its end.
[[nodiscard]] WallAccount account_wall_time(std::span<const InvocationRecord> invocations,
                                            std::span<const DriverStretch> driver, double wall_seconds);

/// {"wall_seconds", "start_seconds", ..., "accounted_share"}.
[[nodiscard]] nlohmann::json wall_account_json(const WallAccount& account);
/// "Time: 12.3 s: start 3 %, input 1 %, ..., platform 2 %, driver 4 %; 99 % accounted for", one line.
[[nodiscard]] std::string wall_account_text(const WallAccount& account);

}  // namespace virga
