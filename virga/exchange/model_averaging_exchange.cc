#include "virga/exchange/model_averaging_exchange.h"

#include <utility>

#include "virga/base/crash_point.h"
#include "virga/base/error.h"
#include "virga/exchange/bsp_exchange.h"
#include "virga/exchange/check_contribution.h"
#include "virga/exchange/local_step.h"

namespace virga {
namespace {

/// Rows of a table with their states: [0] is the parameters.
using RowArrays = std::vector<std::vector<float>>;

RowArrays rows_before(const UpdateRule& rule, std::uint64_t step, std::size_t table,
                      std::span<const std::uint32_t> keys) {
  const auto& spec = rule.layout()[table];
  RowStates states;
  std::vector<float> w(spec.sparse ? keys.size() * spec.width : spec.size());
  spec.sparse ? rule.read_own(step, table, keys, w, states) : rule.read_whole_own(table, w, states);
  RowArrays arrays{std::move(w)};
  if (rule.states() > 0) arrays.push_back(std::move(states.s1));
  if (rule.states() > 1) arrays.push_back(std::move(states.s2));
  return arrays;
}

RowStates states_of(RowArrays& arrays) {
  RowStates states;
  if (arrays.size() > 1) states.s1 = std::move(arrays[1]);
  if (arrays.size() > 2) states.s2 = std::move(arrays[2]);
  return states;
}

}  // namespace

Layout ModelAveragingExchange::summed_layout(const Layout& parameters, RuleKind rule) {
  auto layout = parameters;
  const auto states = state_layout(parameters, rule);
  layout.insert(layout.end(), states.begin(), states.end());
  return layout;
}

ModelAveragingExchange::ModelAveragingExchange(Channel& channel, const Options& options, const Tables& parameters,
                                               const UpdateRuleOptions& rule, const Period& period, TableCuts cuts,
                                               Position start)
    : ReplicaExchange(channel, options, summed_layout(parameters.layout, rule.kind), std::move(cuts), start),
      period_(period),
      summed_(summed_layout(parameters.layout, rule.kind)),
      rule_(parameters, rule, start.step),
      mean_rule_(parameters, rule, start.step) {
  for (const auto& table : parameters.layout) touched_.emplace_back(table.sparse ? table.rows : 0);
}

const CompactParameters& ModelAveragingExchange::read(Round round, std::span<const std::uint32_t> keys) {
  check(round == position_.round, "rounds are read in order");
  lap(WorkPhase::kData);
  read_rows(rule_, position_.step, keys, compact_);
  lap(WorkPhase::kRead);
  return compact_;
}

void ModelAveragingExchange::write(Round round, const Contribution& contribution) {
  check(round == position_.round, "rounds are written in order");
  lap(WorkPhase::kCompute);
  check_shape(contribution, rule_.layout(), round, options_.group.rank);
  check_finite(contribution, rule_.layout(), round, options_.group.rank);
  add_totals(contribution, own_totals_);
  local_step(rule_, position_.step, contribution, round, options_.group.rank, touched_, gradient_);
  ++position_.round;
  ++position_.step;
  go_on_alone();
  lap(WorkPhase::kApply);
  if (period_.ends_after(round)) average(round);
}

Contribution ModelAveragingExchange::moved() const {
  const auto& layout = rule_.layout();
  const auto states = rule_.states();
  const auto weight = static_cast<float>(own_totals_.weight);
  Contribution sum;
  sum.tables.resize(layout.size() * (1 + states));
  sum.weight = own_totals_.weight;
  sum.loss = own_totals_.loss;
  sum.examples = own_totals_.examples;
  for (std::size_t t = 0; t < layout.size(); ++t) {
    const auto keys = touched_[t].keys();
    auto own = rows_before(rule_, position_.step, t, keys);
    const auto mean = rows_before(mean_rule_, position_.step, t, keys);
    for (std::size_t a = 0; a < own.size(); ++a) {
      auto& table = sum.tables[a == 0 ? t : layout.size() + t * states + a - 1];
      table.whole = !layout[t].sparse;
      if (own_totals_.weight == 0) continue;
      table.keys = keys;
      table.values = std::move(own[a]);
      for (std::size_t i = 0; i < table.values.size(); ++i) table.values[i] = (table.values[i] - mean[a][i]) * weight;
    }
  }
  return sum;
}

void ModelAveragingExchange::average(Round round) {
  const auto sum = moved();
  check_finite(sum, summed_, round, options_.group.rank);
  const auto& sums = synchronise(round, sum);
  crash_point("before_apply");
  if (totals().weight > 0) {
    for (const auto& part : sums) take(part, round);
  }
  crash_point("after_apply");
  for (auto& table : touched_) table.clear();
  own_totals_ = {};
  lap(WorkPhase::kApply);
}

void ModelAveragingExchange::take(const ContributionPart& sum, Round round) {
  const auto& layout = rule_.layout();
  const auto states = rule_.states();
  for (std::size_t t = 0; t < layout.size(); ++t) {
    const auto& part = sum.tables[t];
    if (part.rows.values.empty()) continue;
    const auto keys = part.rows.keys;
    auto rows = rows_before(mean_rule_, position_.step, t, keys);
    for (std::size_t a = 0; a < rows.size(); ++a) {
      const auto& table = a == 0 ? part : sum.tables[layout.size() + t * states + a - 1];
      const auto mean = mean_of(table.rows.values, round);
      const auto first = layout[t].sparse ? 0 : part.first;
      for (std::size_t i = 0; i < mean.size(); ++i) rows[a][first + i] += mean[i];
      if (!layout[t].sparse)
        rows[a] = {rows[a].begin() + static_cast<std::ptrdiff_t>(first),
                   rows[a].begin() + static_cast<std::ptrdiff_t>(first + mean.size())};
    }
    const auto w = std::move(rows[0]);
    const auto row_states = states_of(rows);
    for (auto* rule : {&rule_, &mean_rule_}) {
      layout[t].sparse ? rule->assign(position_.step, t, keys, w, row_states)
                       : rule->assign_whole(t, part.first, w, row_states);
    }
  }
}

void ModelAveragingExchange::set_learning_rate(double rate) {
  rule_.set_learning_rate(position_.step, rate);
  mean_rule_.set_learning_rate(position_.step, rate);
}

void ModelAveragingExchange::scale_accumulators(double factor) {
  rule_.scale_accumulators(position_.step, factor);
  mean_rule_.scale_accumulators(position_.step, factor);
}

void ModelAveragingExchange::load(const ReplicaState& state) {
  rule_.load(position_.step, state.rule);
  mean_rule_.load(position_.step, state.rule);
}

}  // namespace virga
