#pragma once

#include <memory>

#include "virga/channel/register.h"
#include "virga/data/manifest.h"
#include "virga/exchange/em_exchange.h"
#include "virga/exchange/replica_exchange.h"
#include "virga/training/algorithm.h"
#include "virga/training/plan.h"

namespace virga {

/// What a rank computes, by the plan's algorithm.
[[nodiscard]] std::unique_ptr<Algorithm> make_algorithm(const TrainingPlan& plan, const Kernels& kernels);

/// Of a plan whose algorithm is kExpectationMaximisation.
[[nodiscard]] EmOptions em_options(const TrainingPlan& plan);

/// The exchange of one rank of a job, by its algorithm, before `start`; `rule` is the plan's, with the rate that holds
/// there. `channel` is borrowed, and so is `models`, the registers of the same store, which protocol ASP alone needs.
/// Throws what the exchange's constructor throws.
[[nodiscard]] std::unique_ptr<ReplicaExchange> make_exchange(const TrainingPlan& plan, const Manifest& manifest,
                                                             std::uint64_t rounds_per_epoch, Channel& channel,
                                                             Register* models, const ReplicaExchange::Options& options,
                                                             const Tables& parameters, const UpdateRuleOptions& rule,
                                                             Position start);

}  // namespace virga
