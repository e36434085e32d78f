#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "virga/base/deadline.h"
#include "virga/channel/channel.h"
#include "virga/collective/pattern_choice.h"
#include "virga/cost/usd.h"
#include "virga/data/manifest.h"
#include "virga/job/job.h"
#include "virga/training/plan.h"

namespace virga {

/// How so many workers of a job are to sum their contributions: as it says, or by default.
struct WantedPattern {
  Pattern pattern = Pattern::kScatterReduce;
  bool is_probed = false;  ///< probe_for_pattern() is to choose; then `pattern` is the default
};
[[nodiscard]] WantedPattern wanted_pattern(const Job& job, std::uint32_t workers);

/// The patterns that a job's workers have the memory for (worker_memory()), the default first. Throws Error(kTooLarge)
/// if there are none.
[[nodiscard]] std::vector<Pattern> fitting_patterns(const TrainingPlan& plan, const Manifest& manifest,
                                                    std::uint64_t memory_bytes);

/// What the requests of a round, with that traffic, cost at the store.
using PriceOfRound = std::function<Usd(const Traffic&)>;

struct ProbedPattern {
  PatternChoice choice;
  Traffic traffic;  ///< of the probe
};

/// Probes the job's channel, made as slow as `emulate` says, and chooses (choose_pattern()) among those that fit. Of a
/// channel that cannot be measured within 2 seconds the choice says why; then it is the first that fits. Throws only
/// Error(kInterrupted), and as fitting_patterns().
[[nodiscard]] ProbedPattern probe_for_pattern(Channel& channel, const std::optional<std::string>& emulate,
                                              const TrainingPlan& plan, const Manifest& manifest,
                                              std::uint64_t rounds_per_epoch, std::uint64_t memory_bytes,
                                              const PriceOfRound& price, const std::stop_token& stop);

/// What a run keeps of it (docs/formats/run-record.md): "exchange.pattern", "exchange.pattern_why" and
/// "exchange.pattern_probe".
[[nodiscard]] nlohmann::json choice_json(const PatternChoice& choice);

}  // namespace virga
