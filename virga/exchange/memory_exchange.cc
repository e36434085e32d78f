#include "virga/exchange/memory_exchange.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/collective/table_sum.h"
#include "virga/collective/tree_sum.h"
#include "virga/exchange/check_contribution.h"
#include "virga/exchange/mean.h"

namespace virga {

class MemoryExchange::Rank final : public Exchange {
 public:
  Rank(MemoryExchange& shared, unsigned rank, unsigned ranks, Round start)
      : shared_(shared), rank_(rank), ranks_(ranks), next_(start), step_(start) {}

  const CompactParameters& read(Round round, std::span<const std::uint32_t> keys) override;
  void write(Round round, const Contribution& contribution) override;

  [[nodiscard]] Round next() const noexcept { return next_; }
  [[nodiscard]] std::uint64_t step() const noexcept { return step_; }
  [[nodiscard]] const RoundTotals& totals() const noexcept { return totals_; }

 private:
  void reduce_and_apply();
  void apply_sparse(std::size_t table);
  void apply_whole(std::size_t table);
  [[nodiscard]] std::span<const float> mean_of(std::span<const float> sum);

  MemoryExchange& shared_;
  const unsigned rank_;
  const unsigned ranks_;
  Round next_;          // the round that comes next; the same for all ranks where they meet
  std::uint64_t step_;  // of the rule; rounds of weight 0 are none
  RoundTotals totals_;
  CompactParameters compact_;
  std::vector<std::uint32_t> keys_;  // a lone rank: what compact_ was read for, with the states of the rule [tables]
  std::vector<RowStates> states_;

  // Scratch:
  TableSum sum_;
  std::vector<RoundTotals> totals_of_ranks_;
  std::vector<SparsePart> sparse_parts_;
  std::vector<std::span<const float>> whole_parts_;
  std::vector<float> mean_;
};

const CompactParameters& MemoryExchange::Rank::read(Round round, std::span<const std::uint32_t> keys) {
  check(round == next_, "rounds are read in order");
  const auto& rule = shared_.rule_;
  const auto& layout = rule.layout();
  compact_.tables.resize(layout.size());
  if (ranks_ == 1) {
    states_.resize(layout.size());
    keys_.assign(keys.begin(), keys.end());
  }
  for (std::size_t t = 0; t < layout.size(); ++t) {
    auto& out = compact_.tables[t];
    if (layout[t].sparse) {
      out.resize(keys.size() * layout[t].width);
      ranks_ == 1 ? rule.read_own(step_, t, keys, out, states_[t]) : rule.read(step_, t, keys, out);
    } else {
      out.resize(layout[t].size());
      rule.read_whole(t, out);
    }
  }
  return compact_;
}

void MemoryExchange::Rank::write(Round round, const Contribution& contribution) {
  check(round == next_, "rounds are written in order");
  try {
    const auto& layout = shared_.rule_.layout();
    check_shape(contribution, layout, next_, rank_);
    // Of a lone rank, the means are checked, which are not finite either.
    if (ranks_ > 1) check_finite(contribution, layout, next_, rank_);
    shared_.written_[rank_] = &contribution;
    shared_.all_written_.arrive_and_wait();
  } catch (...) {
    shared_.abort(std::current_exception());
    throw;
  }
  try {
    reduce_and_apply();
  } catch (...) {
    shared_.abort(std::current_exception());
  }
  ++next_;
  // Others read this rank's contribution, which ends when this call does: none leaves before all are done, error or
  // not.
  shared_.all_applied_.arrive_and_wait();
  shared_.all_written_.throw_if_aborted();
}

void MemoryExchange::Rank::reduce_and_apply() {
  totals_of_ranks_.clear();
  for (const auto* part : shared_.written_) totals_of_ranks_.push_back({part->weight, part->loss, part->examples});
  tree_sum(std::span(totals_of_ranks_), [](RoundTotals& left, const RoundTotals& right) {
    left = {left.weight + right.weight, left.loss + right.loss, left.examples + right.examples};
  });
  totals_ = totals_of_ranks_[0];
  if (totals_.weight == 0) return;
  const auto& layout = shared_.rule_.layout();
  for (std::size_t t = 0; t < layout.size(); ++t) layout[t].sparse ? apply_sparse(t) : apply_whole(t);
  ++step_;
}

void MemoryExchange::Rank::apply_sparse(std::size_t table) {
  auto& rule = shared_.rule_;
  if (ranks_ == 1) {
    const auto& part = shared_.written_[0]->tables[table];
    const auto mean = mean_of(part.values);
    return part.keys == keys_ ? rule.apply_own(step_, table, keys_, compact_.tables[table], states_[table], mean)
                              : rule.apply(step_, table, part.keys, mean);
  }
  const auto& spec = rule.layout()[table];
  const auto keys_of = [&](const Contribution* c) -> const auto& { return c->tables[table].keys; };
  // This rank's range of keys: equal shares of the keys of the rank that has most.
  const auto* widest =
      *std::ranges::max_element(shared_.written_, {}, [&](const Contribution* c) { return keys_of(c).size(); });
  const auto& cuts = keys_of(widest);
  const auto cut = [&](unsigned rank) -> std::uint64_t {
    if (rank == 0 || cuts.empty()) return 0;
    return rank == ranks_ ? spec.rows : cuts[cuts.size() * rank / ranks_];
  };
  sparse_parts_.clear();
  for (const auto* c : shared_.written_) {
    const auto& part = c->tables[table];
    sparse_parts_.push_back(key_range({part.keys, part.values}, spec.width, cut(rank_), cut(rank_ + 1)));
  }
  const auto sum = sum_.sparse(sparse_parts_, spec.width);
  rule.apply(step_, table, sum.keys, mean_of(sum.values));
}

void MemoryExchange::Rank::apply_whole(std::size_t table) {
  // This rank's range of elements: an equal share in whole cache lines.
  const auto size = shared_.rule_.layout()[table].size();
  const auto cut = [&](std::size_t rank) {
    return rank == ranks_ ? size : std::min(size, (size * rank / ranks_ + 15) / 16 * 16);
  };
  const auto first = cut(rank_), count = cut(rank_ + 1) - first;
  whole_parts_.clear();
  for (const auto* c : shared_.written_) {
    const std::span values(c->tables[table].values);
    whole_parts_.push_back(values.empty() ? values : values.subspan(first, count));
  }
  const auto sum = sum_.whole(whole_parts_);
  shared_.rule_.apply_whole(step_, table, first, mean_of(sum));
}

std::span<const float> MemoryExchange::Rank::mean_of(std::span<const float> sum) {
  const auto weight = static_cast<float>(totals_.weight);
  if (mean_.size() < sum.size()) mean_.resize(sum.size());
  const auto mean = std::span(mean_).first(sum.size());
  if (!divide_finite(sum, weight, mean)) {
    if (ranks_ == 1) check_finite(*shared_.written_[0], shared_.rule_.layout(), next_, rank_);
    throw Error(ErrorKind::kDiverged, fmt::format("round {}: the mean gradient of all ranks is not finite", next_),
                kDivergedRemedy);
  }
  return mean;
}

MemoryExchange::MemoryExchange(unsigned ranks, const Tables& parameters, const UpdateRuleOptions& rule, Round start,
                               unsigned threads)
    : rule_(parameters, rule, start), all_written_(ranks), all_applied_(ranks), written_(ranks), threads_(threads) {
  for (unsigned r = 0; r < ranks; ++r) views_.push_back(std::make_unique<Rank>(*this, r, ranks, start));
}

MemoryExchange::~MemoryExchange() = default;

Exchange& MemoryExchange::rank(unsigned rank) { return *views_[rank]; }

void MemoryExchange::abort(std::exception_ptr error) { all_written_.abort(std::move(error)); }

const RoundTotals& MemoryExchange::totals() const noexcept { return views_[0]->totals(); }

const Tables& MemoryExchange::parameters(Round round) {
  check(round == views_[0]->next(), "parameters are those before the next round");
  const auto step = views_[0]->step();
  if (snapshot_ && snapshot_step_ == step) return *snapshot_;
  if (!snapshot_) snapshot_.emplace(rule_.layout());
  rule_.copy_parameters(step, *snapshot_, threads_);
  snapshot_step_ = step;
  return *snapshot_;
}

void MemoryExchange::set_learning_rate(double rate) { rule_.set_learning_rate(views_[0]->step(), rate); }
void MemoryExchange::scale_accumulators(double factor) {
  rule_.scale_accumulators(views_[0]->step(), factor, threads_);
}

}  // namespace virga
