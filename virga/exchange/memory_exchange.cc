#include "virga/exchange/memory_exchange.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "virga/base/error.h"
#include "virga/batch/key_union.h"
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
  /// Rows of a sparse table as they were read, with the states of the rule.
  struct OwnRows {
    std::vector<float> values;
    RowStates states;
  };

  void read_own_range();
  void take_from_owners(std::size_t table);
  void reduce_and_apply();
  void apply_sparse(std::size_t table);
  void apply_own_range(std::size_t table);
  void apply_whole(std::size_t table);
  template <typename KeysOf>
  [[nodiscard]] std::vector<std::uint64_t> cuts(const KeysOf& keys_of, std::uint64_t end) const;
  [[nodiscard]] std::span<const float> sum_of_own_range(std::size_t table);
  [[nodiscard]] std::span<const float> mean_of(std::span<const float> sum);

  MemoryExchange& shared_;
  const unsigned rank_;
  const unsigned ranks_;
  Round next_;          // the round that comes next; the same for all ranks where they meet
  std::uint64_t step_;  // of the rule; rounds of weight 0 are none
  RoundTotals totals_;
  CompactParameters compact_;

  // What the other ranks look at between meetings:
  std::vector<std::uint32_t> keys_;  // that compact_ was read for
  std::optional<Round> read_;        // in this round
  bool writes_keys_ = false;         // the contribution's keys are those, in all sparse tables
  KeyUnion own_;                     // of the keys of all ranks in this rank's range
  std::vector<std::size_t> first_;   // [ranks] where that range begins among the rank's keys
  std::vector<OwnRows> own_rows_;    // [tables] rows own_.keys(); of a lone rank keys_, without values

  // Scratch:
  TableSum sum_;
  std::vector<RoundTotals> totals_of_ranks_;
  std::vector<SparsePart> sparse_parts_;
  std::vector<std::span<const float>> whole_parts_;
  std::vector<std::span<const std::uint32_t>> key_parts_;
  std::vector<std::vector<float>> pair_sums_;  // [half of the ranks, rounded up]
  std::vector<float> mean_;
};

const CompactParameters& MemoryExchange::Rank::read(Round round, std::span<const std::uint32_t> keys) {
  check(round == next_, "rounds are read in order");
  const auto& rule = shared_.rule_;
  const auto& layout = rule.layout();
  compact_.tables.resize(layout.size());
  own_rows_.resize(layout.size());
  keys_.assign(keys.begin(), keys.end());
  read_ = round;
  if (ranks_ > 1) {
    shared_.meeting_.arrive_and_wait();
    try {
      read_own_range();
    } catch (...) {
      shared_.abort(std::current_exception());
      throw;
    }
    shared_.meeting_.arrive_and_wait();
  }
  for (std::size_t t = 0; t < layout.size(); ++t) {
    auto& out = compact_.tables[t];
    if (layout[t].sparse) {
      out.resize(keys.size() * layout[t].width);
      ranks_ == 1 ? rule.read_own(step_, t, keys_, out, own_rows_[t].states) : take_from_owners(t);
    } else {
      out.resize(layout[t].size());
      rule.read_whole(t, out);
    }
  }
  return compact_;
}

/// Where each rank's range of keys begins, and where the last ends: equal shares of the keys of the rank that has most.
template <typename KeysOf>
std::vector<std::uint64_t> MemoryExchange::Rank::cuts(const KeysOf& keys_of, std::uint64_t end) const {
  std::span<const std::uint32_t> widest;
  for (unsigned r = 0; r < ranks_; ++r) {
    const std::span<const std::uint32_t> keys = keys_of(r);
    if (keys.size() > widest.size()) widest = keys;
  }
  std::vector<std::uint64_t> cuts(ranks_ + 1, 0);
  for (unsigned r = 1; r < ranks_ && !widest.empty(); ++r) cuts[r] = widest[widest.size() * r / ranks_];
  cuts[ranks_] = end;
  return cuts;
}

/// This rank's range of the rows that anybody has asked for.
void MemoryExchange::Rank::read_own_range() {
  const auto keys_of = [&](unsigned r) { return std::span<const std::uint32_t>(shared_.views_[r]->keys_); };
  const auto cut = cuts(keys_of, std::numeric_limits<std::uint64_t>::max());
  first_.resize(ranks_);
  key_parts_.clear();
  for (unsigned r = 0; r < ranks_; ++r) {
    const auto keys = keys_of(r);
    first_[r] = static_cast<std::size_t>(std::ranges::lower_bound(keys, cut[rank_]) - keys.begin());
    const auto last = static_cast<std::size_t>(std::ranges::lower_bound(keys, cut[rank_ + 1]) - keys.begin());
    key_parts_.push_back(keys.subspan(first_[r], last - first_[r]));
  }
  own_.merge(key_parts_);
  const auto& layout = shared_.rule_.layout();
  for (std::size_t t = 0; t < layout.size(); ++t) {
    if (!layout[t].sparse) continue;
    auto& own = own_rows_[t];
    own.values.resize(own_.keys().size() * layout[t].width);
    shared_.rule_.read_own(step_, t, own_.keys(), own.values, own.states);
  }
}

void MemoryExchange::Rank::take_from_owners(std::size_t table) {
  const auto width = shared_.rule_.layout()[table].width;
  auto* out = compact_.tables[table].data();
  for (const auto& owner : shared_.views_) {
    const auto* const values = owner->own_rows_[table].values.data();
    const auto places = owner->own_.places(rank_);
    if (width == 1) {
#pragma GCC unroll 8
      for (std::size_t i = 0; i < places.size(); ++i) out[i] = values[places[i]];
      out += places.size();
      continue;
    }
    for (const auto place : places) out = std::copy_n(values + std::size_t{place} * width, width, out);
  }
}

void MemoryExchange::Rank::write(Round round, const Contribution& contribution) {
  check(round == next_, "rounds are written in order");
  try {
    const auto& layout = shared_.rule_.layout();
    check_shape(contribution, layout, next_, rank_);
    // Of a lone rank, the means are checked, which are not finite either.
    if (ranks_ > 1) check_finite(contribution, layout, next_, rank_);
    writes_keys_ = read_ == round;
    for (std::size_t t = 0; writes_keys_ && t < layout.size(); ++t) {
      writes_keys_ = !layout[t].sparse || contribution.tables[t].keys == keys_;
    }
    shared_.written_[rank_] = &contribution;
    shared_.meeting_.arrive_and_wait();
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
  shared_.meeting_.throw_if_aborted();
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
  const bool as_read = std::ranges::all_of(shared_.views_, [](const auto& view) { return view->writes_keys_; });
  for (std::size_t t = 0; t < layout.size(); ++t) {
    if (!layout[t].sparse) {
      apply_whole(t);
    } else {
      as_read ? apply_own_range(t) : apply_sparse(t);
    }
  }
  ++step_;
}

/// Of keys that were not read.
void MemoryExchange::Rank::apply_sparse(std::size_t table) {
  auto& rule = shared_.rule_;
  const auto& spec = rule.layout()[table];
  const auto cut = cuts([&](unsigned r) { return std::span(shared_.written_[r]->tables[table].keys); }, spec.rows);
  sparse_parts_.clear();
  for (const auto* c : shared_.written_) {
    const auto& part = c->tables[table];
    sparse_parts_.push_back(key_range({part.keys, part.values}, spec.width, cut[rank_], cut[rank_ + 1]));
  }
  const auto sum = sum_.sparse(sparse_parts_, spec.width);
  rule.apply(step_, table, sum.keys, mean_of(sum.values));
}

void MemoryExchange::Rank::apply_own_range(std::size_t table) {
  auto& rule = shared_.rule_;
  const auto& own = own_rows_[table];
  if (ranks_ == 1) {
    const auto mean = mean_of(shared_.written_[0]->tables[table].values);
    return rule.apply_own(step_, table, keys_, compact_.tables[table], own.states, mean);
  }
  rule.apply_own(step_, table, own_.keys(), own.values, own.states, mean_of(sum_of_own_range(table)));
}

/// Of rows own_.keys(), the sum of all contributions.
std::span<const float> MemoryExchange::Rank::sum_of_own_range(std::size_t table) {
  const auto width = shared_.rule_.layout()[table].width;
  const auto size = own_.keys().size() * width;
  pair_sums_.resize((ranks_ + 1) / 2);
  for (unsigned r = 0; r < ranks_; ++r) {
    auto& pair = pair_sums_[r / 2];
    if (r % 2 == 0) pair.assign(size, -0.0F);  // to which anything can be added without a change, also -0
    auto* const sum = pair.data();
    const auto* values = shared_.written_[r]->tables[table].values.data() + first_[r] * width;
    const auto places = own_.places(r);
    if (width == 1) {
#pragma GCC unroll 8
      for (std::size_t i = 0; i < places.size(); ++i) sum[places[i]] += values[i];
      continue;
    }
    for (const auto place : places) {
      for (std::size_t c = 0; c < width; ++c) sum[std::size_t{place} * width + c] += values[c];
      values += width;
    }
  }
  whole_parts_.assign(pair_sums_.begin(), pair_sums_.end());
  return sum_.whole(whole_parts_);
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
    throw_mean_diverged(next_);
  }
  return mean;
}

MemoryExchange::MemoryExchange(unsigned ranks, const Tables& parameters, const UpdateRuleOptions& rule, Round start,
                               unsigned threads)
    : rule_(parameters, rule, start), meeting_(ranks), all_applied_(ranks), written_(ranks), threads_(threads) {
  for (unsigned r = 0; r < ranks; ++r) views_.push_back(std::make_unique<Rank>(*this, r, ranks, start));
}

MemoryExchange::~MemoryExchange() = default;

Exchange& MemoryExchange::rank(unsigned rank) { return *views_[rank]; }

void MemoryExchange::abort(std::exception_ptr error) { meeting_.abort(std::move(error)); }

const RoundTotals& MemoryExchange::totals() const noexcept { return views_[0]->totals(); }

void MemoryExchange::copy_parameters(Round round, Tables& out) {
  check(round == views_[0]->next(), "parameters are those before the next round");
  if (out.layout != rule_.layout()) out = Tables(rule_.layout());
  rule_.copy_parameters(views_[0]->step(), out, threads_);
}

void MemoryExchange::set_learning_rate(double rate) { rule_.set_learning_rate(views_[0]->step(), rate); }
void MemoryExchange::scale_accumulators(double factor) {
  rule_.scale_accumulators(views_[0]->step(), factor, threads_);
}

}  // namespace virga
