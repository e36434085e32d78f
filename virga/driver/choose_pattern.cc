#include "virga/driver/choose_pattern.h"

#include <algorithm>
#include <deque>

#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/channel/direct_channel.h"
#include "virga/channel/emulated_channel.h"
#include "virga/collective/channel_probe.h"
#include "virga/training/function_memory.h"
#include "virga/training/round_size.h"

namespace virga {
namespace {

using nlohmann::json;

constexpr auto kProbeTime = std::chrono::seconds(2);
constexpr std::uint32_t kMostAtOnce = 4;  // members that a probe plays

/// As many functions have the channel: each has lines of its own, where it is as slow as a service.
ChannelProbe probe(Channel& channel, const std::optional<std::string>& emulate, std::uint32_t workers,
                   const std::stop_token& stop) {
  std::deque<EmulatedChannel> slow;
  std::vector<Channel*> members;
  for (std::uint32_t i = 0; i < std::min(workers, kMostAtOnce); ++i) {
    members.push_back(emulate ? &slow.emplace_back(channel, find_service_profile(*emulate), workers - 1) : &channel);
  }
  return probe_channel(members, {Deadline::in(kProbeTime), stop});
}

}  // namespace

WantedPattern wanted_pattern(const Job& job, std::uint32_t workers) {
  const auto& exchange = job.exchange;
  for (const auto pattern : kPatterns) {
    if (exchange.pattern == to_string(pattern)) return {.pattern = pattern};
  }
  if (exchange.protocol == "ssp") return {.pattern = Pattern::kAllToAll};
  // What goes straight between workers passes by the driver, who cannot measure it; nor does the model of a store, by
  // which patterns are chosen, say what a network takes.
  const bool straight =
      is_direct_uri(exchange.channel) || (exchange.emulate && find_service_profile(*exchange.emulate).straight);
  const bool can_probe = exchange.protocol == "bsp" && workers > 1 && !straight;
  return {.pattern = default_pattern(workers), .is_probed = exchange.pattern == "auto" && can_probe};
}

std::vector<Pattern> fitting_patterns(const TrainingPlan& plan, const Manifest& manifest, std::uint64_t memory_bytes) {
  std::vector<Pattern> patterns(std::begin(kPatterns), std::end(kPatterns));
  const auto usual = std::ranges::find(patterns, default_pattern(plan.workers));
  std::rotate(patterns.begin(), usual, usual + 1);
  std::optional<Error> refusal;
  std::erase_if(patterns, [&](Pattern pattern) {
    try {
      (void)worker_memory(plan, pattern, manifest, memory_bytes);
      return false;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kTooLarge) throw;
      if (!refusal || pattern == Pattern::kScatterReduce) refusal = error;  // which needs least
      return true;
    }
  });
  if (patterns.empty()) throw Error(*refusal);
  return patterns;
}

ProbedPattern probe_for_pattern(Channel& channel, const std::optional<std::string>& emulate, const TrainingPlan& plan,
                                const Manifest& manifest, std::uint64_t rounds_per_epoch, std::uint64_t memory_bytes,
                                const PriceOfRound& price, const std::stop_token& stop) {
  const auto candidates = fitting_patterns(plan, manifest, memory_bytes);
  const auto size = expected_round_size(plan, manifest, rounds_per_epoch);
  try {
    const auto measured = probe(channel, emulate, plan.workers, stop);
    auto choice = choose_pattern(candidates, measured.figures, size);
    for (auto& forecast : choice.forecasts) {
      if (price) forecast.requests = price(forecast.traffic);
    }
    return {std::move(choice), measured.traffic};
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kInterrupted) throw;
    return {{.pattern = candidates[0], .pieces = usual_pieces(size), .failure = error.what()}, {}};
  }
}

json choice_json(const PatternChoice& choice) {
  auto forecasts = json::array();
  for (const auto& one : choice.forecasts) {
    forecasts.push_back({{"pattern", to_string(one.pattern)},
                         {"pieces", one.pieces},
                         {"seconds", one.seconds},
                         {"usd", one.requests ? json(one.requests->dollars()) : json(nullptr)}});
  }
  const auto& figures = choice.figures;
  return {{"exchange.pattern", to_string(choice.pattern)},
          {"exchange.pattern_why", choice_text(choice)},
          {"exchange.pattern_probe",
           {{"pieces", choice.pieces},
            {"failure", choice.failure.empty() ? json(nullptr) : json(choice.failure)},
            {"journey_seconds", figures.journey_seconds},
            {"message_seconds", figures.message_seconds},
            {"put_seconds", figures.put_seconds},
            {"put_seconds_per_byte", figures.put_seconds_per_byte},
            {"get_seconds_per_byte", figures.get_seconds_per_byte},
            {"store_seconds_per_byte", figures.store_seconds_per_byte},
            {"sum_seconds_per_byte", figures.sum_seconds_per_byte},
            {"members", choice.size.members},
            {"contribution_bytes", choice.size.contribution_bytes},
            {"sum_bytes", choice.size.sum_bytes},
            {"forecasts", forecasts}}}};
}

}  // namespace virga
