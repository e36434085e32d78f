#include "virga/exchange/bsp_exchange.h"

#include <utility>

#include <fmt/format.h>

#include "virga/base/crash_point.h"
#include "virga/base/error.h"
#include "virga/exchange/check_contribution.h"
#include "virga/exchange/mean.h"

namespace virga {

BspExchange::BspExchange(Channel& channel, const Options& options, const Tables& parameters,
                         const UpdateRuleOptions& rule, TableCuts cuts, Position start)
    : options_(options),
      rule_(parameters, rule, start.step),
      all_reduce_(channel, options.group, parameters.layout, std::move(cuts), options.all_reduce),
      position_(start) {}

const CompactParameters& BspExchange::read(Round round, std::span<const std::uint32_t> keys) {
  check(round == position_.round, "rounds are read in order");
  lap(WorkPhase::kData);
  const auto& layout = rule_.layout();
  compact_.tables.resize(layout.size());
  for (std::size_t t = 0; t < layout.size(); ++t) {
    auto& out = compact_.tables[t];
    out.resize(layout[t].sparse ? keys.size() * layout[t].width : layout[t].size());
    layout[t].sparse ? rule_.read(position_.step, t, keys, out) : rule_.read_whole(t, out);
  }
  lap(WorkPhase::kRead);
  return compact_;
}

void BspExchange::write(Round round, const Contribution& contribution) {
  check(round == position_.round, "rounds are written in order");
  lap(WorkPhase::kCompute);
  check_shape(contribution, rule_.layout(), round, options_.group.rank);
  check_finite(contribution, rule_.layout(), round, options_.group.rank);
  const Wait wait{Deadline::in(options_.patience), options_.stop};
  const auto& sums = all_reduce_(round, contribution, own_decree_, wait);
  totals_ = sums[0].scalars.totals;
  decree_ = sums[0].scalars.decree;
  ++position_.round;
  if (totals_.weight == 0) return;
  crash_point("before_apply");
  for (const auto& sum : sums) apply(sum);
  crash_point("after_apply");
  lap(WorkPhase::kApply);
  ++position_.step;
}

void BspExchange::apply(const ContributionPart& sum) {
  const auto& layout = rule_.layout();
  for (std::size_t t = 0; t < layout.size(); ++t) {
    const auto& part = sum.tables[t];
    if (part.rows.values.empty()) continue;
    const auto mean = mean_of(part.rows.values);
    layout[t].sparse ? rule_.apply(position_.step, t, part.rows.keys, mean)
                     : rule_.apply_whole(position_.step, t, part.first, mean);
  }
}

std::span<const float> BspExchange::mean_of(std::span<const float> sum) {
  if (mean_.size() < sum.size()) mean_.resize(sum.size());
  const auto mean = std::span(mean_).first(sum.size());
  if (!divide_finite(sum, static_cast<float>(totals_.weight), mean)) {
    throw Error(ErrorKind::kDiverged,
                fmt::format("round {}: the mean gradient of all ranks is not finite", position_.round - 1),
                kDivergedRemedy);
  }
  return mean;
}

}  // namespace virga
