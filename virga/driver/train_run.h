#pragma once

#include <filesystem>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "virga/driver/data_set.h"
#include "virga/driver/functions_report.h"
#include "virga/driver/functions_run.h"
#include "virga/driver/run_record.h"
#include "virga/driver/single_engine.h"
#include "virga/job/settings.h"
#include "virga/training/function_memory.h"
#include "virga/training/metrics.h"

namespace virga {

struct TrainRequest {
  Job job;
  Settings settings;  ///< what the job was made from; kept in the run's record
  std::filesystem::path home;
  unsigned cores = 1;
  std::uint64_t cache_bytes = 0;                ///< most memory for decoded rows
  std::optional<Run> resume = std::nullopt;     ///< the run to go on with, which left resume_folder()
  std::filesystem::path function_program = {};  ///< virga-function, for engines that start processes
  std::string channel_token = {};               ///< of the data store that the job names, if that wants one
  PriceTable prices = builtin_price_table();    ///< what the job's name for them means, or the resumed run's own
};

/// Throws Error(kUsage) if the prices do not sell what the job works with: a service, a type of machine, functions of
/// that size.
void check_prices(const TrainRequest& request);

/// Throws Error if the job names a data store (exchange.channel = "ps:ADDRESS" or "redis:...") that does not answer or
/// refuses the token.
void check_channel(const TrainRequest& request);

/// What a function that evaluates snapshots needs; none if nothing is held out. Throws as evaluation_memory().
[[nodiscard]] std::optional<FunctionMemory> evaluation_memory_of(const TrainingPlan& plan, const JobData& data,
                                                                 std::uint64_t limit_bytes);

/// What a job says of where its functions work and what they may cost; all else is as FunctionsPlace has it.
[[nodiscard]] FunctionsPlace place_of(const Job& job, const PriceTable& prices);

/// What a run on functions works in, and what a stopped or dead one leaves: all that is needed to go on.
[[nodiscard]] std::filesystem::path resume_folder(const std::filesystem::path& run_folder);

/// Its URI: that folder, or "functions" within the run's own URI.
[[nodiscard]] std::string resume_uri(const Run& run);
/// Is there anything to go on with?
[[nodiscard]] bool left_work(const Run& run);

/// What a run on functions took: docs/formats/ledger.md.
[[nodiscard]] std::filesystem::path ledger_path(const std::filesystem::path& run_folder);

/// The job of such a run and its own prices, with settings that are given `anew`. Throws Error(kNotFound) if the run
/// left nothing to go on with, kConflict while it runs.
[[nodiscard]] TrainRequest resumed_request(const Run& run, std::vector<Setting> anew, const std::filesystem::path& home,
                                           unsigned cores, std::uint64_t cache_bytes,
                                           const std::filesystem::path& function_program,
                                           const std::string& channel_token);

/// What was decided before the first round.
struct TrainStart {
  std::string run_id;
  std::string engine;
  std::string simd;  ///< level of the kernels
  const TrainingPlan& plan;
  const Manifest& manifest;
  std::uint64_t rounds_per_epoch = 0;
  bool has_validation = false;
};

/// "epochs", "target_loss", "patience", "converged", "seconds", "budget", "signal": as the run's record and JSON output
/// call it.
[[nodiscard]] std::string_view word_for(EndReason reason) noexcept;

class TrainObserver : public TrainingObserver {
 public:
  virtual void started(const TrainStart& start) = 0;
};

struct TrainOutcome {
  std::string run_id;
  std::filesystem::path model;  ///< where the job wanted it; the run's folder has a copy
  TrainingPlan plan;
  TrainingResult result;
  std::vector<std::string> classes;  ///< of the data; empty for regression
  std::optional<Evaluation> test;    ///< of the model on the test data, if there are any and nobody stopped the run
  std::optional<FunctionsReport> functions;  ///< of a run on functions
  std::uint64_t exchanges = 0;               ///< how often all workers added up what they had
};

/// Trains as the job says on data that are open, with all cores of this machine: record, search, rounds, model file;
/// then evaluates the model on the test data, once, or, without them, on the validation data for its record. The run's
/// record is kept up to date; whatever ends the run stands in it. Throws what any part throws.
[[nodiscard]] TrainOutcome train(const TrainRequest& request, const JobData& data, TrainObserver& observer,
                                 const std::stop_token& stop);

}  // namespace virga
