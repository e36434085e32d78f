#include "virga/training/round_size.h"

#include <algorithm>
#include <cmath>

#include "virga/model/model.h"

namespace virga {

double expected_keys(const Manifest& manifest, double entries) {
  const auto touched = [](double keys, double of_them) { return keys <= 0 ? 0 : -keys * std::expm1(-of_them / keys); };
  const auto features = static_cast<double>(manifest.encoding.features);
  const auto& cuts = manifest.key_quantiles;
  if (cuts.size() < 2) return touched(features, entries);
  const auto share = entries / static_cast<double>(cuts.size() - 1);
  double keys = 0, of_one = 0;  // what several cuts at one key say of it
  for (std::size_t i = 1; i < cuts.size(); ++i) {
    if (cuts[i] == cuts[i - 1]) {
      of_one += share;
      continue;
    }
    keys += touched(cuts[i] - cuts[i - 1], share + of_one);
    of_one = 0;
  }
  return std::min(features, keys + touched(1, of_one));
}

RoundSize expected_round_size(const TrainingPlan& plan, const Manifest& manifest, std::uint64_t rounds_per_epoch) {
  constexpr double kKeyBytes = 2;
  constexpr double kMessageBytes = 100;  // of header, totals and the list of tables
  const auto& algorithm = plan.algorithm;
  const bool averages_models = algorithm.kind == AlgorithmKind::kModelAveraging;
  const auto all_rows = static_cast<double>(manifest.train.rows);
  auto rows = std::min(static_cast<double>(plan.batch_size), all_rows);  // of all workers, between synchronisations
  if (algorithm.kind != AlgorithmKind::kGradientAveraging) {
    const bool sooner = averages_models && algorithm.every > 0 && algorithm.every < rounds_per_epoch;
    rows = sooner ? std::min(all_rows, rows * static_cast<double>(algorithm.every)) : all_rows;
  }
  const double workers = std::max(1U, plan.workers);
  const auto entries_per_row = static_cast<double>(manifest.train.nonzeros) / std::max(1.0, all_rows);
  const auto own_keys = expected_keys(manifest, entries_per_row * rows / workers);
  const auto all_keys = expected_keys(manifest, entries_per_row * rows);

  const auto kind = plan.rule.kind;
  const int states = kind == RuleKind::kSgd ? 0 : kind == RuleKind::kAdam ? 2 : 1;
  const double times = averages_models ? 1 + states : 1;
  RoundSize size{.members = plan.workers, .contribution_bytes = kMessageBytes, .sum_bytes = kMessageBytes};
  for (const auto& table : layout_of(plan.model)) {
    const auto row = times * (sizeof(float) * table.width + (table.sparse ? kKeyBytes : 0));
    size.contribution_bytes += row * (table.sparse ? std::min<double>(own_keys, table.rows) : table.rows);
    size.sum_bytes += row * (table.sparse ? std::min<double>(all_keys, table.rows) : table.rows);
  }
  return size;
}

}  // namespace virga
