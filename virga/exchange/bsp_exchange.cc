#include "virga/exchange/bsp_exchange.h"

#include <utility>

#include "virga/base/crash_point.h"
#include "virga/base/error.h"
#include "virga/exchange/check_contribution.h"

namespace virga {

void read_rows(const UpdateRule& rule, std::uint64_t step, std::span<const std::uint32_t> keys,
               CompactParameters& out) {
  const auto& layout = rule.layout();
  out.tables.resize(layout.size());
  for (std::size_t t = 0; t < layout.size(); ++t) {
    auto& rows = out.tables[t];
    rows.resize(layout[t].sparse ? keys.size() * layout[t].width : layout[t].size());
    layout[t].sparse ? rule.read(step, t, keys, rows) : rule.read_whole(t, rows);
  }
}

BspExchange::BspExchange(Channel& channel, const Options& options, const Tables& parameters,
                         const UpdateRuleOptions& rule, TableCuts cuts, Position start)
    : ReplicaExchange(channel, options, parameters.layout, std::move(cuts), start),
      rule_(parameters, rule, start.step) {}

const CompactParameters& BspExchange::read(Round round, std::span<const std::uint32_t> keys) {
  check(round == position_.round, "rounds are read in order");
  lap(WorkPhase::kData);
  read_rows(rule_, position_.step, keys, compact_);
  lap(WorkPhase::kRead);
  return compact_;
}

void BspExchange::write(Round round, const Contribution& contribution) {
  check(round == position_.round, "rounds are written in order");
  lap(WorkPhase::kCompute);
  check_shape(contribution, rule_.layout(), round, options_.group.rank);
  check_finite(contribution, rule_.layout(), round, options_.group.rank);
  const auto& sums = synchronise(round, contribution);
  ++position_.round;
  if (totals().weight == 0) return;
  crash_point("before_apply");
  for (const auto& sum : sums) apply(sum, round);
  crash_point("after_apply");
  lap(WorkPhase::kApply);
  ++position_.step;
}

void BspExchange::apply(const ContributionPart& sum, Round round) {
  const auto& layout = rule_.layout();
  for (std::size_t t = 0; t < layout.size(); ++t) {
    const auto& part = sum.tables[t];
    if (part.rows.values.empty()) continue;
    const auto mean = mean_of(part.rows.values, round);
    layout[t].sparse ? rule_.apply(position_.step, t, part.rows.keys, mean)
                     : rule_.apply_whole(position_.step, t, part.first, mean);
  }
}

}  // namespace virga
