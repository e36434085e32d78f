#include "virga/cli/train_display.h"

#include <chrono>
#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/units.h"
#include "virga/cost/price_table.h"
#include "virga/driver/choose_pattern.h"

namespace virga {
namespace {

using nlohmann::json;

json or_null(const std::optional<double>& number) {
  return number && std::isfinite(*number) ? json(*number) : json(nullptr);
}

/// "4/4 functions  1 restart  would cost $0.00031 of $0.01  9 invocations"; what matters most comes first.
std::string functions_line(const FunctionsStatus& status, std::string_view workers) {
  const auto limit = status.usd_limit ? " of " + format_usd(bounded_usd(*status.usd_limit)) : std::string();
  return fmt::format("{}/{} {} alive  {} restart{}  would cost {}{}  {} invocations", status.alive, status.workers,
                     workers, format_count(status.restarts), status.restarts == 1 ? "" : "s",
                     format_usd(bounded_usd(status.usd)), limit, format_count(status.invocations));
}

}  // namespace

void TrainDisplay::started(const TrainStart& start) {
  const auto& plan = start.plan;
  base_loss_ = plan.constant_loss;
  epochs_ = plan.epochs;
  workers_ = start.engine == "single" ? "threads" : start.engine == "vm" ? "virtual machines" : "functions";
  progress_.milestone(
      fmt::format("{} on {} rows x {} features{}; batch {}, {} rounds an epoch, {} worker{} ({}, {}){}",
                  to_string(plan.model.kind), format_count(start.manifest.train.rows),
                  format_count(start.manifest.encoding.features), start.has_validation ? "" : ", no validation rows",
                  format_count(plan.batch_size), format_count(start.rounds_per_epoch), plan.workers,
                  plan.workers == 1 ? "" : "s", workers_, start.simd,
                  plan.algorithm == AlgorithmPlan() ? "" : "; " + algorithm_text(plan.algorithm)),
      "started",
      {{"run", start.run_id},
       {"model", to_string(plan.model.kind)},
       {"train_rows", start.manifest.train.rows},
       {"features", start.manifest.encoding.features},
       {"batch_size", plan.batch_size},
       {"rounds_per_epoch", start.rounds_per_epoch},
       {"workers", plan.workers},
       {"algorithm", to_string(plan.algorithm.kind)},
       {"base_loss", base_loss_}});
}

void TrainDisplay::rate_found(double learning_rate, const std::vector<RateTrial>& trials) {
  auto tried = json::array();
  for (const auto& trial : trials) {
    tried.push_back({{"learning_rate", trial.learning_rate}, {"loss", or_null(trial.loss)}});
  }
  progress_.milestone(fmt::format("learning rate {:g}, the best of {} tried on a sample", learning_rate, trials.size()),
                      "rate_found", {{"learning_rate", learning_rate}, {"trials", tried}});
}

void TrainDisplay::pattern_chosen(const PatternChoice& choice) {
  progress_.milestone("auto chose " + choice_text(choice), "pattern_chosen", choice_json(choice));
}

void TrainDisplay::progressed(const TrainingProgress& progress) {
  last_ = progress;
  show();
}

void TrainDisplay::functions_changed(const FunctionsStatus& status) {
  functions_ = status;
  if (last_) show();
}

void TrainDisplay::show() {
  auto losses = fmt::format("epoch {}/{}  loss {:.4f}", last_->epoch + 1, epochs_, last_->train_loss);
  auto detail = fmt::format("epoch {}/{}  train loss {:.4f}", last_->epoch + 1, epochs_, last_->train_loss);
  if (validation_loss_) losses += fmt::format("  validation {:.4f}", *validation_loss_);
  losses += fmt::format("  base {:.4f}", base_loss_);
  Progress shown{.phase = "train",
                 .done = static_cast<double>(last_->examples),
                 .total = static_cast<double>(last_->total),
                 .unit = "rows",
                 .below = {"  " + losses},
                 .facts = {{"epoch", last_->epoch + 1},
                           {"epochs", epochs_},
                           {"train_loss", last_->train_loss},
                           {"validation_loss", validation_loss_},
                           {"base_loss", base_loss_}}};
  if (functions_) {
    const auto& status = *functions_;
    shown.below.push_back("  " + functions_line(status, workers_));
    detail += fmt::format("  {}/{} {} alive, {} restart{}, {}", status.alive, status.workers, workers_,
                          format_count(status.restarts), status.restarts == 1 ? "" : "s",
                          format_usd(bounded_usd(status.usd)));
    shown.facts.insert(shown.facts.end(), {{"functions_alive", status.alive},
                                           {"functions_wanted", status.workers},
                                           {"invocations", static_cast<double>(status.invocations)},
                                           {"restarts", static_cast<double>(status.restarts)},
                                           {"usd", status.usd}});
  }
  shown.detail = std::move(detail);
  progress_.report(shown);
}

void TrainDisplay::evaluated(const EpochReport& report) {
  if (report.validation_loss) validation_loss_ = report.validation_loss;
  auto line = fmt::format("epoch {:>3}  train loss {:.5f}", report.epoch, report.train_loss);
  if (report.validation_loss) {
    line += fmt::format("  validation loss {:.5f}  (base rate {:.5f}){}", *report.validation_loss, base_loss_,
                        report.best ? "  best" : "");
  }
  progress_.milestone(line, "evaluated",
                      {{"epoch", report.epoch},
                       {"round", report.round},
                       {"examples", report.examples},
                       {"learning_rate", report.learning_rate},
                       {"train_loss", or_null(report.train_loss)},
                       {"validation_loss", or_null(report.validation_loss)},
                       {"elapsed_seconds", std::chrono::duration<double>(report.elapsed).count()},
                       {"best", report.best}});
}

}  // namespace virga
