#include "virga/exchange/admm_exchange.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "virga/base/crash_point.h"
#include "virga/base/error.h"
#include "virga/exchange/bsp_exchange.h"
#include "virga/exchange/check_contribution.h"
#include "virga/exchange/local_step.h"

namespace virga {
namespace {

constexpr std::uint32_t kOwnNorms = 3;  // that ranks add up
constexpr std::uint32_t kKept = 6;      // norms of a rank, and whether it has converged

/// All tables are pulled back to where they were agreed on.
Tables zeros(Layout layout) {
  for (auto& table : layout) table.regularised = true;
  return Tables(layout);
}

UpdateRuleOptions pulling(UpdateRuleOptions rule, double rho) {
  rule.l1 = 0;
  rule.l2 = rho;
  return rule;
}

double square(double x) noexcept { return x * x; }

}  // namespace

Layout AdmmExchange::summed_layout(const Layout& parameters) {
  auto layout = parameters;
  layout.push_back({.name = "norms", .rows = 1, .width = kOwnNorms, .regularised = false, .sparse = false});
  return layout;
}

AdmmExchange::AdmmExchange(Channel& channel, const Options& options, const Tables& parameters,
                           const UpdateRuleOptions& rule, const Penalty& penalty, const Period& period, TableCuts cuts,
                           Position start)
    : ReplicaExchange(channel, options, summed_layout(parameters.layout), std::move(cuts), start),
      period_(period),
      penalty_(penalty),
      l1_(rule.l1),
      l2_(rule.l2),
      layout_(parameters.layout),
      rule_(zeros(parameters.layout), pulling(rule, penalty.rho), start.step),
      z_(parameters),
      u_(parameters.layout) {
  for (const auto& table : layout_) touched_.emplace_back(table.sparse ? table.rows : 0);
}

const CompactParameters& AdmmExchange::read(Round round, std::span<const std::uint32_t> keys) {
  check(round == position_.round, "rounds are read in order");
  lap(WorkPhase::kData);
  read_rows(rule_, position_.step, keys, compact_);
  for (std::size_t t = 0; t < layout_.size(); ++t) {
    auto& out = compact_.tables[t];
    const auto width = layout_[t].width;
    const auto& z = z_.values[t];
    const auto& u = u_.values[t];
    if (!layout_[t].sparse) {
      for (std::size_t i = 0; i < out.size(); ++i) out[i] += z[i] - u[i];
      continue;
    }
    for (std::size_t k = 0; k < keys.size(); ++k) {
      const auto from = std::size_t{keys[k]} * width;
      for (std::size_t c = 0; c < width; ++c) out[k * width + c] += z[from + c] - u[from + c];
    }
  }
  lap(WorkPhase::kRead);
  return compact_;
}

void AdmmExchange::write(Round round, const Contribution& contribution) {
  check(round == position_.round, "rounds are written in order");
  lap(WorkPhase::kCompute);
  check_shape(contribution, layout_, round, options_.group.rank);
  check_finite(contribution, layout_, round, options_.group.rank);
  add_totals(contribution, own_totals_);
  local_step(rule_, position_.step, contribution, round, options_.group.rank, touched_, gradient_);
  ++position_.round;
  ++position_.step;
  go_on_alone();
  lap(WorkPhase::kApply);
  if (period_.ends_after(round)) agree(round);
}

Contribution AdmmExchange::gathered(const std::vector<std::vector<float>>& y,
                                    const std::vector<std::vector<std::uint32_t>>& keys) const {
  const auto weight = static_cast<float>(own_totals_.weight);
  Contribution sum;
  sum.weight = own_totals_.weight;
  sum.loss = own_totals_.loss;
  sum.examples = own_totals_.examples;
  for (std::size_t t = 0; t < layout_.size(); ++t) {
    auto& table = sum.tables.emplace_back();
    table.whole = !layout_[t].sparse;
    if (sum.weight == 0) continue;
    table.keys = keys[t];
    table.values = y[t];
    for (auto& value : table.values) value *= weight;
  }
  auto& norms = sum.tables.emplace_back();
  norms.whole = true;
  norms.values = {norms_.primal * weight, norms_.x * weight, norms_.u * weight};
  return sum;
}

void AdmmExchange::judge(std::span<const float> norms) {
  std::size_t size = 0;
  for (const auto& table : layout_) size += table.size();
  const auto least = std::sqrt(static_cast<double>(size)) * penalty_.absolute;
  const auto primal = std::sqrt(double{norms[0]}), x = std::sqrt(double{norms[1]}), u = std::sqrt(double{norms[2]});
  const auto dual = penalty_.rho * std::sqrt(double{norms_.dual}), z = std::sqrt(std::max(0.0, double{norms_.z}));
  converged_ = norms_.z >= 0 && primal <= least + penalty_.relative * std::max(x, z) &&
               dual <= least + penalty_.relative * penalty_.rho * u;
}

float AdmmExchange::shrunk(float value, bool regularised) const noexcept {
  if (!regularised) return value;
  const auto left = std::max(0.0, std::abs(double{value}) - l1_ / penalty_.rho) * penalty_.rho / (penalty_.rho + l2_);
  return static_cast<float>(std::copysign(left, value));
}

void AdmmExchange::agree(Round round) {
  const auto tables = layout_.size();
  std::vector<std::vector<std::uint32_t>> keys(tables);
  std::vector<std::vector<float>> y(tables);
  std::vector<RowStates> states(tables);
  for (std::size_t t = 0; t < tables; ++t) {
    keys[t] = touched_[t].keys();
    y[t].resize(layout_[t].sparse ? keys[t].size() * layout_[t].width : layout_[t].size());
    layout_[t].sparse ? rule_.read_own(position_.step, t, keys[t], y[t], states[t])
                      : rule_.read_whole_own(t, y[t], states[t]);
  }
  const auto own = gathered(y, keys);  // of a single rank, it is the sum
  const auto& sums = synchronise(round, own);
  crash_point("before_apply");
  if (totals().weight > 0) {
    auto next = z_;
    for (const auto& sum : sums) {
      for (std::size_t t = 0; t < tables; ++t) {
        const auto& part = sum.tables[t];
        const auto mean = mean_of(part.rows.values, round);
        const auto width = layout_[t].width;
        for (std::size_t i = 0; i < mean.size(); ++i) {
          const auto at =
              layout_[t].sparse ? std::size_t{part.rows.keys[i / width]} * width + i % width : part.first + i;
          next.values[t][at] += mean[i];
        }
      }
      const auto& norms = sum.tables[tables].rows.values;
      if (!norms.empty()) judge(mean_of(norms, round));
    }
    double primal = 0, x_norm = 0, u_norm = 0, dual = 0, z_norm = 0;
    for (std::size_t t = 0; t < tables; ++t) {
      const auto width = layout_[t].width;
      std::size_t k = 0;  // next of keys[t]
      for (std::size_t row = 0; row < layout_[t].rows; ++row) {
        const bool touched = !layout_[t].sparse || (k < keys[t].size() && keys[t][k] == row);
        for (std::size_t c = 0; c < width; ++c) {
          const auto i = row * width + c;
          const auto at = layout_[t].sparse ? k * width + c : i;  // in y
          const auto before = z_.values[t][i];
          const auto z = shrunk(next.values[t][i], layout_[t].regularised);
          const auto mine = touched ? y[t][at] : 0.0F;
          const auto x = before - u_.values[t][i] + mine;
          const auto u = before + mine - z;
          if (touched) y[t][at] = x - z + u;
          z_.values[t][i] = z;
          u_.values[t][i] = u;
          primal += square(double{x} - z);
          x_norm += square(x);
          u_norm += square(u);
          dual += square(double{z} - before);
          z_norm += square(z);
        }
        if (layout_[t].sparse && touched) ++k;
      }
      layout_[t].sparse ? rule_.assign(position_.step, t, keys[t], y[t], states[t])
                        : rule_.assign_whole(t, 0, y[t], states[t]);
    }
    norms_ = {static_cast<float>(primal), static_cast<float>(x_norm), static_cast<float>(u_norm),
              static_cast<float>(dual), static_cast<float>(z_norm)};
  }
  crash_point("after_apply");
  own_totals_ = {};
  lap(WorkPhase::kApply);
}

void AdmmExchange::copy_parameters(Tables& out) const {
  check(out.layout == layout_, "AdmmExchange::copy_parameters: `out` has the layout of the parameters");
  out.values = z_.values;
}

Layout AdmmExchange::own_layout() const {
  Layout layout;
  for (const auto& table : layout_) {
    for (const auto* name : {".z", ".u"}) {
      layout.push_back(table);
      layout.back().name += name;
    }
    layout.push_back({.name = table.name + ".touched", .rows = table.sparse ? table.rows : 0, .width = 1});
  }
  layout.push_back({.name = "norms", .rows = 1, .width = kKept});
  return layout;
}

ReplicaState AdmmExchange::save() const {
  ReplicaState state{rule_.save(), Tables(own_layout())};
  for (std::size_t t = 0; t < layout_.size(); ++t) {
    state.own.values[3 * t] = z_.values[t];
    state.own.values[3 * t + 1] = u_.values[t];
    for (const auto key : touched_[t].keys()) state.own.values[3 * t + 2][key] = 1;
  }
  state.own.values.back() = {norms_.primal, norms_.x, norms_.u, norms_.dual, norms_.z, converged_ ? 1.0F : 0.0F};
  return state;
}

void AdmmExchange::load(const ReplicaState& state) {
  if (state.own.layout != own_layout()) {
    throw Error(ErrorKind::kBadData, "the state of ADMM is that of another model", "resume with the model of the run");
  }
  rule_.load(position_.step, state.rule);
  for (std::size_t t = 0; t < layout_.size(); ++t) {
    z_.values[t] = state.own.values[3 * t];
    u_.values[t] = state.own.values[3 * t + 1];
    touched_[t].clear();
    const auto& flags = state.own.values[3 * t + 2];
    for (std::uint32_t row = 0; row < flags.size(); ++row) {
      if (flags[row] != 0) touched_[t].add(std::span(&row, 1));
    }
  }
  const auto& norms = state.own.values.back();
  norms_ = {norms[0], norms[1], norms[2], norms[3], norms[4]};
  converged_ = norms[5] != 0;
}

}  // namespace virga
