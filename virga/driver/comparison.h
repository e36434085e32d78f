#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "virga/cost/price_table.h"
#include "virga/cost/summary.h"

namespace virga {

/// An evaluation as whoever waits for the run learns of it.
struct ComparedPoint {
  double seconds = 0;  ///< since the run began: start-up, rate search and all are in it
  std::uint32_t epoch = 0;
  std::uint64_t round = 0;  ///< of communication, completed
  double loss = 0;          ///< of validation, or of training where there are no validation rows
  Usd usd;                  ///< spent by then
};

struct ComparedRun {
  std::string run;  ///< id
  std::uint64_t seed = 0;
  std::vector<ComparedPoint> points;  ///< with a finite loss, in their order
  double wall_seconds = 0;
  Usd usd;
  std::uint64_t bytes = 0;      ///< put and got through the channel
  double cpu_seconds = 0;       ///< of workers; 0: not said
  std::uint64_t lifetimes = 0;  ///< invocations of workers
  GroupSeconds groups{};        ///< of workers
  std::string ended_by;         ///< word_for()
  std::string error;            ///< not empty: it failed, and all but `seed` may be missing
};

/// What was tried for a preset before its runs, and what came out best.
struct Tuning {
  std::size_t trials = 0;
  std::uint32_t epochs = 0;                                 ///< of a trial
  double loss = 0;                                          ///< lowest of the best trial
  std::vector<std::pair<std::string, std::string>> values;  ///< option_name() and text
};

struct ComparedPreset {
  std::string name;
  bool functions = false;  ///< else threads of this machine, or virtual machines
  std::string instance;    ///< the type of the virtual machines; empty: there are none
  std::uint32_t workers = 0;
  std::uint64_t memory_bytes = 0;  ///< of a function
  double vcpus = 0;                ///< of a function
  bool oversubscribed = false;     ///< more processors are promised than there are: its times and dollars mean little
  /// Until a platform would run so many workers, by the price table's start-up profile; 0 of threads, whose machine is
  /// there. Measured times do not have it; dollars of virtual machines do.
  double startup_seconds = 0;
  std::optional<Tuning> tuning;
  std::vector<ComparedRun> runs;
};

struct Comparison {
  std::string data;
  unsigned cores = 0;
  std::optional<double> wanted_loss;  ///< that the job wants
  std::vector<ComparedPreset> presets;
};

/// Median of what runs with different seeds gave, and their range.
struct Spread {
  double median = 0, least = 0, most = 0;
};
[[nodiscard]] std::optional<Spread> spread_of(std::vector<double> values);

/// The loss by which runs are compared: the wanted one; else the lowest that every run has reached that did not fail.
/// None if one of them has no evaluation.
[[nodiscard]] std::optional<double> common_loss(const Comparison& comparison);
/// The first point that is as low; null if the run never was.
[[nodiscard]] const ComparedPoint* first_at(const ComparedRun& run, double loss) noexcept;

/// Of one preset.
struct ComparedFigures {
  std::size_t runs = 0;     ///< that did not fail
  std::size_t reached = 0;  ///< of them, the loss
  std::optional<Spread> best_loss;
  std::optional<Spread> seconds, usd, rounds;  ///< to the loss, of the runs that reached it
  std::optional<Spread> started_seconds;       ///< `seconds` and the platform's start-up
  std::optional<Spread> wall_seconds, wall_usd, bytes;
};
[[nodiscard]] ComparedFigures figures_of(const ComparedPreset& preset, std::optional<double> loss);

/// What a machine would cost that is rented for so long, by the table's service "machine" for each core; its start is
/// not counted.
[[nodiscard]] Usd machine_usd(const PriceTable& table, unsigned cores, double seconds);

/// A lower bound of the functions of a size that it takes to end as early as a machine.
struct FunctionsToBeat {
  std::optional<std::uint64_t> functions;  ///< none: no number of them
  double exchange_seconds = 0;             ///< of one function, in the whole run, however many there are
  double machine_seconds = 0;
};
/// From what a run on functions says of itself: computing is divided among functions; starting and the processor time
/// of exchanging are not, and waiting counts for nothing. None if the run does not say it.
[[nodiscard]] std::optional<FunctionsToBeat> functions_to_beat(const ComparedPreset& functions, double machine_seconds);

/// Of so many workers of a preset: functions, virtual machines or threads.
[[nodiscard]] double startup_of(const ComparedPreset& preset, const PriceTable& table) noexcept;

/// Sentences that say who wins, by how much, and what it means.
[[nodiscard]] std::vector<std::string> verdicts(const Comparison& comparison);

/// Tuning::values, for people: "exchange.rho 0.001, optimizer.batch_size 60".
[[nodiscard]] std::string values_text(const std::vector<std::pair<std::string, std::string>>& values);
/// "exchange.rho 0.001, the best of 4 tried for 5 epochs".
[[nodiscard]] std::string tuning_text(const Tuning& tuning);

/// Does a preset work on virtual machines?
[[nodiscard]] bool has_machines(const Comparison& comparison) noexcept;
/// What "with start-up" means, a sentence or two.
[[nodiscard]] std::string startup_note(const PriceTable& table);

/// docs/compare.md.
[[nodiscard]] nlohmann::json comparison_json(const Comparison& comparison, const PriceTable& table);
/// A page that stands alone, as report_html().
[[nodiscard]] std::string comparison_html(const Comparison& comparison, const PriceTable& table);

}  // namespace virga
