#pragma once

#include <cstdint>
#include <optional>

#include "virga/cli/progress.h"
#include "virga/driver/train_run.h"

namespace virga {

/// Shows a run on standard error while it goes on: a bar with the losses and the functions below it, lines or events.
class TrainDisplay final : public TrainObserver {
 public:
  explicit TrainDisplay(ProgressDisplay& progress) : progress_(progress) {}

  void started(const TrainStart& start) override;
  void rate_found(double learning_rate, const std::vector<RateTrial>& trials) override;
  void pattern_chosen(const PatternChoice& choice) override;
  void progressed(const TrainingProgress& progress) override;
  void evaluated(const EpochReport& report) override;
  void functions_changed(const FunctionsStatus& status) override;
  void keep(const TrainingResult&) override {}

 private:
  void show();

  ProgressDisplay& progress_;
  double base_loss_ = 0;
  std::uint32_t epochs_ = 0;
  std::string_view workers_ = "functions";  // what they are
  std::optional<TrainingProgress> last_;
  std::optional<double> validation_loss_;
  std::optional<FunctionsStatus> functions_;
};

}  // namespace virga
