#include "virga/exchange/replica_exchange.h"

#include <utility>

#include "virga/base/error.h"
#include "virga/exchange/check_contribution.h"
#include "virga/exchange/mean.h"

namespace virga {

ReplicaExchange::ReplicaExchange(Channel& channel, const Options& options, const Layout& summed, TableCuts cuts,
                                 Position start)
    : ReplicaExchange(options, start) {
  all_reduce_.emplace(channel, options.group, summed, std::move(cuts), options.all_reduce);
}

ReplicaExchange::ReplicaExchange(const Options& options, Position start) : options_(options), position_(start) {}

std::vector<std::uint32_t> ReplicaExchange::missing() const {
  return all_reduce_ ? all_reduce_->missing() : std::vector<std::uint32_t>();
}

Traffic ReplicaExchange::traffic() const { return all_reduce_ ? all_reduce_->traffic() : Traffic(); }

const std::vector<ContributionPart>& ReplicaExchange::synchronise(Round round, const Contribution& contribution,
                                                                  std::chrono::nanoseconds patience) {
  check(all_reduce_.has_value(), "an exchange that synchronises has sums");
  const Wait wait{Deadline::in(patience), options_.stop};
  const auto& sums = (*all_reduce_)(round, contribution, own_decree_, wait);
  agree(sums[0].scalars);
  return sums;
}

void ReplicaExchange::agree(const SumScalars& sums) noexcept {
  totals_ = sums.totals;
  decree_ = sums.decree;
  synchronised_ = true;
}

std::span<const float> ReplicaExchange::mean_of(std::span<const float> sum, double weight, Round round) {
  if (mean_.size() < sum.size()) mean_.resize(sum.size());
  const auto mean = std::span(mean_).first(sum.size());
  if (!divide_finite(sum, static_cast<float>(weight), mean)) throw_mean_diverged(round);
  return mean;
}

}  // namespace virga
