#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <memory>

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/file.h"
#include "virga/base/memory.h"
#include "virga/base/threads.h"
#include "virga/base/units.h"
#include "virga/cli/commands.h"
#include "virga/cli/dry_run.h"
#include "virga/cli/import_display.h"
#include "virga/cli/job_flags.h"
#include "virga/cli/output.h"
#include "virga/cli/run_cost.h"
#include "virga/cli/signals.h"
#include "virga/cli/train_display.h"
#include "virga/cli/train_session.h"
#include "virga/driver/functions_report.h"
#include "virga/driver/train_run.h"
#include "virga/storage/object_uri.h"
#include "virga/training/evaluation_report.h"

namespace virga {
namespace {

using nlohmann::json;

struct Train {
  std::string what;  // JOB.toml or DATA
  bool dry_run = false;
  JobFlags flags;
};

json or_null(const std::optional<double>& number) {
  return number && std::isfinite(*number) ? json(*number) : json(nullptr);
}

std::string_view why(EndReason reason) {
  switch (reason) {
    case EndReason::kEpochs:
      return "all epochs were run";
    case EndReason::kTargetLoss:
      return "the target loss was reached";
    case EndReason::kPatience:
      return "the validation loss no longer fell";
    case EndReason::kConverged:
      return "it had converged";
    case EndReason::kSeconds:
      return "the time was up";
    case EndReason::kBudget:
      return "the budget was used up, but for what could not be risked";
    case EndReason::kStopped:
      return "it was stopped";
  }
  return "";
}

/// Of the whole run, the drivers before this one included if it was resumed.
std::optional<RunCost> cost_of(const TrainOutcome& outcome, const TrainRequest& request) {
  if (!outcome.functions) return std::nullopt;
  return read_run_cost(find_run(request.home, outcome.run_id, RunChoice::kOnly));
}

json report_of(const TrainOutcome& outcome, const std::optional<RunCost>& cost, const PriceTable& prices) {
  const auto& [run_id, model, plan, result, classes, test, functions, exchanges] = outcome;
  return {{"run", run_id},
          {"model", model.string()},
          {"kind", to_string(plan.model.kind)},
          {"ended_by", word_for(result.reason)},
          {"epochs", result.last.epoch},
          {"rounds", result.last.round},
          {"algorithm", to_string(plan.algorithm.kind)},
          {"protocol", to_string(plan.algorithm.protocol)},
          {"exchanges", exchanges},
          {"examples", result.last.examples},
          {"best_epoch", result.best.epoch},
          {"learning_rate", result.learning_rate},
          {"batch_size", plan.batch_size},
          {"workers", plan.workers},
          {"train_loss", or_null(result.best.train_loss)},
          {"validation_loss", or_null(result.best.validation_loss)},
          {"base_loss", or_null(plan.constant_loss)},
          {"training_seconds", std::chrono::duration<double>(result.elapsed).count()},
          {"test", test ? evaluation_json(*test, classes) : json(nullptr)},
          {"functions", functions ? functions_json(*functions, prices) : json(nullptr)},
          {"cost", cost ? summary_json(cost->summary, cost->prices, UsdKind::kEstimated) : json(nullptr)}};
}

void tell(const TrainOutcome& outcome, const std::optional<RunCost>& cost, const Session& session) {
  const auto& result = outcome.result;
  const auto seconds = std::max(1e-9, std::chrono::duration<double>(result.elapsed).count());
  session.note(
      fmt::format("{} epoch{}, {} rows in {} ({} rows/s){}: {}", result.last.epoch, result.last.epoch == 1 ? "" : "s",
                  format_count(result.last.examples), format_duration(result.elapsed),
                  format_count(static_cast<std::uint64_t>(static_cast<double>(result.last.examples) / seconds)),
                  outcome.exchanges == result.last.round
                      ? ""
                      : fmt::format(", {} exchanges of the workers", format_count(outcome.exchanges)),
                  why(result.reason)));
  if (outcome.functions) {
    if (const auto text = staleness_text(*outcome.functions); !text.empty()) {
      session.note(fmt::format("protocol {}: {}", to_string(outcome.plan.algorithm.protocol), text));
    }
    if (outcome.functions->retries > 0) {
      session.note(fmt::format("faults: {} requests were made again", format_count(outcome.functions->retries)));
    }
  }
  if (result.best.validation_loss) {
    session.note(fmt::format("best: epoch {}, validation loss {:.5f} (base rate {:.5f})", result.best.epoch,
                             *result.best.validation_loss, outcome.plan.constant_loss));
  }
  if (outcome.test) {
    session.note(fmt::format("test: {} rows, {}", format_count(outcome.test->rows), evaluation_line(*outcome.test)));
  }
  if (cost) {
    const auto columns = std::min(terminal_width(STDERR_FILENO), 100U);
    for (const auto& line : cost_lines(*cost, cost->prices)) session.note(wrap(line, columns, 2));
  }
  session.note(fmt::format("model: {}   run: {}", outcome.model.string(), outcome.run_id));
}

int run(const TrainRequest& request, Session& session, const StopOnSignal& signals) {
  check_can_write_file_or_object(request.job.output.model);
  const auto& read = request.job.data;
  check_replaces_no_input(request.job.output.model,
                          std::array{read.train, read.validation.value_or(""), read.test.value_or("")});
  check_channel(request);
  const auto progress = session.make_progress();
  const auto data = open_job_data(request.job.data, request.job.seed, request.home, import_events(session, *progress),
                                  signals.token());
  TrainDisplay display(*progress);
  const auto outcome = virga::train(request, data, display, signals.token());
  progress->finish();
  const auto cost = cost_of(outcome, request);
  if (session.json()) {
    session.print_json(report_of(outcome, cost, request.prices));
  } else {
    tell(outcome, cost, session);
    const auto reason = outcome.result.reason;
    if (leaves_work(reason) && request.job.functions.engine != "single") {
      session.note(fmt::format("to go on: virga resume {}{}", request.job.output.run.value_or(outcome.run_id),
                               reason == EndReason::kBudget ? " --budget USD (of the whole run)" : ""));
    }
  }
  if (outcome.result.reason == EndReason::kStopped) return 128 + (signal_received() != 0 ? signal_received() : SIGINT);
  const bool short_of_target = request.job.stop.target_loss && outcome.result.reason != EndReason::kTargetLoss;
  return leaves_work(outcome.result.reason) && short_of_target ? exit_code(ErrorKind::kBudgetExhausted) : 0;
}

int train(const Train& train, Session& session) {
  const StopOnSignal signals;
  const auto settings = job_settings(train.what, train.flags, session);
  std::vector<std::string> warnings;
  auto job = make_job(settings, warnings);
  for (const auto& warning : warnings) session.warn(warning);
  const auto request = train_request(std::move(job), settings, load_prices(settings), session);
  check_prices(request);
  if (train.dry_run) return dry_run(request, session), 0;
  return run(request, session, signals);
}

struct Resume {
  std::string which;
  std::string budget;
};

int resume(const Resume& resume, Session& session) {
  const StopOnSignal signals;
  std::vector<Setting> anew;
  if (!resume.budget.empty()) {
    const auto* option = find_option("stop", "usd");
    anew.push_back({.option = option,
                    .value = parse_value(*option, resume.budget, "--budget"),
                    .source = Source::kFlag,
                    .origin = "--budget"});
  }
  const auto request =
      resumed_request(find_run(session.home(), resume.which, RunChoice::kOnly), std::move(anew), session.home(),
                      usable_cores(), memory_limit() / 4, function_program(), session.variable(kTokenVariable));
  return run(request, session, signals);
}

}  // namespace

void add_train_command(Program& program) {
  auto state = std::make_shared<Train>();
  auto& app = program.add(
      "Models",
      {.name = "train",
       .arguments = "JOB.toml | DATA",
       .summary = "Trains a model and stores it",
       .details =
           "DATA is an imported set, or a raw file (LIBSVM, CSV, IDX images), which is imported on the fly and "
           "kept in $VIRGA_HOME/cache. Without further flags the kind of model follows from the labels, the "
           "learning rate is searched on a sample, a tenth of a raw file is held out for validation, and the "
           "model that is best on it is kept. Ctrl-C stops after the current round and keeps the best model. A run on "
           "functions (--engine) ends with what it would have cost, and --dry-run says beforehand what it would "
           "do, whether that fits into memory and what it could cost at most.",
       .examples = {{"virga train a9a.gz", "logistic regression on a LIBSVM file, written to model.safetensors"},
                    {"virga train clicks/ --epochs 5 --learning-rate 0.5", "on an imported set, without the search"},
                    {"virga train job.toml --seed 2", "as a job file says, but for the seed"},
                    {"virga train clicks/ --engine local --seconds 10min --dry-run", "what would that cost?"},
                    {"virga train clicks/ --engine local --prices my-region.json", "by prices of your own"}}},
      [state](Session& session) { return train(*state, session); });
  app.add_option("JOB|DATA", state->what, "Job file (*.toml), imported set or raw file")->required();
  app.add_flag("--dry-run", state->dry_run, "Print plan, memory and cost, and do nothing");
  program.declare_when_needed(app, [state, &app] { state->flags.declare(app); });
}

void add_resume_command(Program& program) {
  auto state = std::make_shared<Resume>();
  auto& app = program.add(
      "Models",
      {.name = "resume",
       .arguments = "RUN",
       .summary = "Goes on with a run on functions that was stopped or whose driver died",
       .details =
           "Everything is in the run's folder: workers go on from the newest checkpoint, with the same settings, "
           "and the model is that of an undisturbed run, bit for bit. RUN is an id, its beginning, a name, or "
           "\"last\", or the s3:// URI of a run that lies there (--run), which can be gone on with on any machine. "
           "Runs of the engine \"single\" keep their best model, but cannot go on. A run that has a budget "
           "keeps to it; one that has used it up needs a larger one.",
       .examples = {{"virga resume last", "the newest run"},
                    {"virga resume last --budget 0.10", "which may then have cost ten cents in all"},
                    {"virga resume 20261121-0955", "by the beginning of its id"}}},
      [state](Session& session) { return resume(*state, session); });
  app.add_option("RUN", state->which, "Run: id, its beginning, name, \"last\" or s3:// URI")->required();
  app.add_option("--budget", state->budget, "What the whole run may cost from now on, in dollars")->type_name("USD");
}

}  // namespace virga
