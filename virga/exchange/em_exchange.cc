#include "virga/exchange/em_exchange.h"

#include <algorithm>
#include <utility>

#include "virga/base/crash_point.h"
#include "virga/base/error.h"
#include "virga/exchange/check_contribution.h"
#include "virga/exchange/local_step.h"

namespace virga {
namespace {

/// The mean loss of the last epoch, as a float and what that lacks, whether there is one, and whether the run has
/// converged.
Layout own_layout() { return {{.name = "em", .rows = 1, .width = 4, .regularised = false, .sparse = false}}; }

/// What a checkpoint can hold of `loss`.
struct TwoFloats {
  explicit TwoFloats(double loss)
      : high(static_cast<float>(loss)), low(static_cast<float>(loss - static_cast<double>(high))) {}
  [[nodiscard]] double sum() const noexcept { return double{high} + double{low}; }
  float high;
  float low;
};

constexpr char kExtremeValues[] = "look for extreme values with 'virga inspect', or scale the data (--scale standard)";

}  // namespace

EmExchange::EmExchange(Channel& channel, const Options& options, const Tables& parameters, EmOptions em,
                       std::uint64_t rounds_per_epoch, TableCuts cuts, Position start)
    : ReplicaExchange(channel, options, em.statistics, std::move(cuts), start),
      em_(std::move(em)),
      period_{.rounds = 0, .rounds_per_epoch = rounds_per_epoch},
      parameters_(parameters) {
  for (const auto& table : parameters_.layout) check(!table.sparse, "EmExchange: the parameters are read whole");
  for (const auto& table : em_.statistics) {
    check(table.doubles, "EmExchange: statistics are doubles");
    own_.emplace_back(table.size());
    touched_.emplace_back(table.sparse ? table.rows : 0);
  }
  sum_ = own_;
  compact_.tables = parameters_.values;
  compact_.version = start.round + 1;
}

const CompactParameters& EmExchange::read(Round round, std::span<const std::uint32_t> /*keys*/) {
  check(round == position_.round, "rounds are read in order");
  lap(WorkPhase::kData);
  return compact_;
}

void EmExchange::write(Round round, const Contribution& contribution) {
  check(round == position_.round, "rounds are written in order");
  lap(WorkPhase::kCompute);
  check_shape(contribution, em_.statistics, round, options_.group.rank, kExtremeValues);
  check_finite(contribution, em_.statistics, round, options_.group.rank, kExtremeValues);
  add(contribution);
  ++position_.round;
  go_on_alone();
  lap(WorkPhase::kApply);
  if (period_.ends_after(round)) maximise(round);
}

void EmExchange::add(const Contribution& contribution) {
  add_totals(contribution, own_totals_);
  for (std::size_t t = 0; t < own_.size(); ++t) {
    const auto& table = contribution.tables[t];
    auto& own = own_[t];
    if (!em_.statistics[t].sparse) {
      for (std::size_t i = 0; i < table.doubles.size(); ++i) own[i] += table.doubles[i];
      continue;
    }
    const std::size_t width = em_.statistics[t].width;
    touched_[t].add(table.keys);
    for (std::size_t k = 0; k < table.keys.size(); ++k) {
      auto* const row = own.data() + table.keys[k] * width;
      for (std::size_t c = 0; c < width; ++c) row[c] += table.doubles[k * width + c];
    }
  }
}

/// What this rank has summed up; leaves nothing behind.
Contribution EmExchange::gathered() {
  Contribution all;
  all.weight = own_totals_.weight;
  all.loss = own_totals_.loss;
  all.examples = own_totals_.examples;
  for (std::size_t t = 0; t < own_.size(); ++t) {
    auto& table = all.tables.emplace_back();
    table.whole = !em_.statistics[t].sparse;
    if (table.whole) {
      if (all.examples > 0) table.doubles = own_[t];
      std::ranges::fill(own_[t], 0.0);
      continue;
    }
    const std::size_t width = em_.statistics[t].width;
    table.keys = touched_[t].keys();
    table.doubles.reserve(table.keys.size() * width);
    for (const auto key : table.keys) {
      const auto row = own_[t].begin() + static_cast<std::ptrdiff_t>(key * width);
      table.doubles.insert(table.doubles.end(), row, row + static_cast<std::ptrdiff_t>(width));
      std::fill_n(row, width, 0.0);
    }
    touched_[t].clear();
  }
  own_totals_ = {};
  return all;
}

void EmExchange::maximise(Round round) {
  const auto own = gathered();  // of a single rank, it is the sum
  const auto& sums = synchronise(round, own);
  crash_point("before_apply");
  if (totals().weight > 0) {
    take(sums);
    const bool comparable =
        em_.maximise(sum_, static_cast<std::uint32_t>(round / period_.rounds_per_epoch), parameters_);
    compact_.tables = parameters_.values;
    compact_.version = position_.round + 1;
    ++position_.step;
    judge(comparable);
  }
  crash_point("after_apply");
  lap(WorkPhase::kApply);
}

/// `sums`, in ranges, to sum_.
void EmExchange::take(const std::vector<ContributionPart>& sums) {
  for (auto& table : sum_) std::ranges::fill(table, 0.0);
  for (const auto& part : sums) {
    for (std::size_t t = 0; t < sum_.size(); ++t) {
      const auto& [first, rows] = part.tables[t];
      if (!em_.statistics[t].sparse) {
        std::ranges::copy(rows.doubles, sum_[t].begin() + static_cast<std::ptrdiff_t>(first));
        continue;
      }
      const std::size_t width = em_.statistics[t].width;
      for (std::size_t k = 0; k < rows.keys.size(); ++k) {
        std::ranges::copy(rows.doubles.subspan(k * width, width),
                          sum_[t].begin() + static_cast<std::ptrdiff_t>(rows.keys[k] * width));
      }
    }
  }
}

void EmExchange::judge(bool comparable) {
  const double mean = TwoFloats(totals().loss / totals().weight).sum();
  converged_ = comparable && mean_loss_ && *mean_loss_ - mean <= em_.tolerance * (em_.absolute ? 1 : *mean_loss_);
  mean_loss_ = comparable ? std::optional(mean) : std::nullopt;
}

void EmExchange::copy_parameters(Tables& out) const {
  check(out.layout == parameters_.layout, "EmExchange::copy_parameters: `out` has the layout of the parameters");
  out.values = parameters_.values;
}

ReplicaState EmExchange::save() const {
  ReplicaState state{{.parameters = parameters_, .states = Tables(), .steps = {}}, Tables(own_layout())};
  state.rule.steps.resize(parameters_.layout.size());
  const TwoFloats loss(mean_loss_.value_or(0));
  state.own.values[0] = {loss.high, loss.low, mean_loss_ ? 1.0F : 0.0F, converged_ ? 1.0F : 0.0F};
  return state;
}

void EmExchange::load(const ReplicaState& state) {
  if (state.rule.parameters.layout != parameters_.layout || state.own.layout != own_layout()) {
    throw Error(ErrorKind::kBadData, "the state of expectation maximisation is that of another model",
                "resume with the model of the run");
  }
  parameters_ = state.rule.parameters;
  compact_.tables = parameters_.values;
  const auto& own = state.own.values[0];
  mean_loss_ = own[2] != 0 ? std::optional(double{own[0]} + double{own[1]}) : std::nullopt;
  converged_ = own[3] != 0;
}

}  // namespace virga
