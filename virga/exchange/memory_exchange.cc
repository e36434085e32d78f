#include "virga/exchange/memory_exchange.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/exchange/tree_sum.h"

namespace virga {
namespace {

constexpr int kSpins = 2000;  // some ten microseconds before a rank goes to sleep

/// A part of a sparse table's contribution: keys ascending, values [keys x width].
struct Rows {
  std::vector<std::uint32_t> keys;
  std::vector<float> values;
};

/// left + right by key, without branches on the order of the keys.
void merge(Rows& left, const Rows& right, std::size_t width, Rows& scratch) {
  scratch.keys.resize(left.keys.size() + right.keys.size());
  scratch.values.resize(scratch.keys.size() * width);
  std::size_t a = 0, b = 0, n = 0;
  const auto na = left.keys.size(), nb = right.keys.size();
  if (width == 1) {
    const auto* ka = left.keys.data();
    const auto* kb = right.keys.data();
    while (a < na && b < nb) {
      const auto x = ka[a], y = kb[b];
      const bool use_a = x <= y, use_b = y <= x;
      scratch.keys[n] = use_a ? x : y;
      // A key of one side alone is that side's value, not its sum with 0 (which would turn -0 into 0).
      const float va = left.values[a], vb = right.values[b];
      scratch.values[n] = use_a ? (use_b ? va + vb : va) : vb;
      a += use_a, b += use_b, ++n;
    }
  } else {
    while (a < na && b < nb) {
      const auto x = left.keys[a], y = right.keys[b];
      scratch.keys[n] = std::min(x, y);
      for (std::size_t c = 0; c < width; ++c) {
        scratch.values[n * width + c] = x < y   ? left.values[a * width + c]
                                        : y < x ? right.values[b * width + c]
                                                : left.values[a * width + c] + right.values[b * width + c];
      }
      a += x <= y, b += y <= x, ++n;
    }
  }
  const auto copy_rest = [&](const Rows& rows, std::size_t from) {
    std::copy(rows.keys.begin() + static_cast<std::ptrdiff_t>(from), rows.keys.end(),
              scratch.keys.begin() + static_cast<std::ptrdiff_t>(n));
    std::copy(rows.values.begin() + static_cast<std::ptrdiff_t>(from * width), rows.values.end(),
              scratch.values.begin() + static_cast<std::ptrdiff_t>(n * width));
    n += rows.keys.size() - from;
  };
  copy_rest(left, a);
  copy_rest(right, b);
  scratch.keys.resize(n);
  scratch.values.resize(n * width);
  std::swap(left, scratch);
}

}  // namespace

class MemoryExchange::Rank final : public Exchange {
 public:
  Rank(MemoryExchange& shared, unsigned rank) : shared_(shared), rank_(rank) {}

  const CompactParameters& read(Round round, std::span<const std::uint32_t> keys) override {
    const auto& parameters = shared_.parameters_;
    compact_.tables.resize(parameters.layout.size());
    for (std::size_t t = 0; t < parameters.layout.size(); ++t) {
      if (!parameters.layout[t].sparse) {
        compact_.tables[t] = parameters.values[t];
        continue;
      }
      compact_.tables[t].resize(keys.size() * parameters.layout[t].width);
      shared_.rule_.read(round, parameters, t, keys, compact_.tables[t]);
    }
    return compact_;
  }

  void write(Round round, const Contribution& contribution) override {
    if (!std::isfinite(contribution.loss)) {
      throw Error(ErrorKind::kDiverged, fmt::format("round {}, rank {}: the loss is not finite", round, rank_),
                  "lower --learning-rate, or look for extreme values with 'virga inspect'");
    }
    shared_.written_[rank_] = &contribution;
    shared_.meet();
    shared_.reduce_and_apply(round, rank_);
    shared_.meet();
  }

  std::vector<Rows> parts_;  // scratch of reduce_and_apply: [ranks]
  Rows scratch_;
  std::vector<std::vector<float>> whole_;

 private:
  MemoryExchange& shared_;
  const unsigned rank_;
  CompactParameters compact_;
};

MemoryExchange::MemoryExchange(unsigned ranks, Tables parameters, const UpdateRuleOptions& rule)
    : ranks_(ranks), parameters_(std::move(parameters)), rule_(parameters_.layout, rule), written_(ranks) {
  for (unsigned r = 0; r < ranks; ++r) views_.push_back(std::make_unique<Rank>(*this, r));
}

MemoryExchange::~MemoryExchange() = default;

Exchange& MemoryExchange::rank(unsigned rank) { return *views_[rank]; }

void MemoryExchange::abort(std::exception_ptr error) {
  const std::lock_guard lock(mutex_);
  if (!error_) error_ = std::move(error);
  aborted_ = true;
  met_.notify_all();
}

void MemoryExchange::meet() {
  const auto meeting = meetings_.load(std::memory_order_acquire);
  {
    const std::lock_guard lock(mutex_);
    if (error_) std::rethrow_exception(error_);
    if (++waiting_ == ranks_) {
      waiting_ = 0;
      meetings_.store(meeting + 1, std::memory_order_release);
      met_.notify_all();
      return;
    }
  }
  for (int spin = 0; spin < kSpins; ++spin) {
    if (meetings_.load(std::memory_order_acquire) != meeting) return;
    __builtin_ia32_pause();
  }
  std::unique_lock lock(mutex_);
  met_.wait(lock, [&] { return meetings_.load(std::memory_order_relaxed) != meeting || error_; });
  if (meetings_.load(std::memory_order_relaxed) == meeting) std::rethrow_exception(error_);
}

void MemoryExchange::reduce_and_apply(Round round, unsigned rank) {
  auto& own = *views_[rank];
  std::vector<RoundTotals> totals(ranks_);
  for (unsigned r = 0; r < ranks_; ++r) totals[r] = {written_[r]->weight, written_[r]->loss, written_[r]->examples};
  tree_sum(totals, [](RoundTotals& left, const RoundTotals& right) {
    left = {left.weight + right.weight, left.loss + right.loss, left.examples + right.examples};
  });
  if (rank == 0) totals_ = totals[0];
  if (!(totals[0].weight > 0)) return;
  const auto factor = static_cast<float>(1 / totals[0].weight);
  own.parts_.resize(ranks_);
  for (std::size_t t = 0; t < parameters_.layout.size(); ++t) {
    const auto& table = parameters_.layout[t];
    if (!table.sparse) {
      if (rank != t % ranks_) continue;
      own.whole_.resize(ranks_);
      for (unsigned r = 0; r < ranks_; ++r) {
        own.whole_[r] = written_[r]->tables[t].values;
        if (own.whole_[r].empty()) own.whole_[r].resize(table.size());
      }
      tree_sum(own.whole_, [](std::vector<float>& left, const std::vector<float>& right) {
        for (std::size_t i = 0; i < left.size(); ++i) left[i] += right[i];
      });
      for (auto& value : own.whole_[0]) value *= factor;
      rule_.apply_whole(round, parameters_, t, own.whole_[0]);
      continue;
    }
    // This rank's range of keys: equal shares of the keys of the rank that has most.
    const auto* widest =
        *std::ranges::max_element(written_, {}, [&](const Contribution* c) { return c->tables[t].keys.size(); });
    const auto& cuts = widest->tables[t].keys;
    const auto cut = [&](unsigned r) -> std::uint64_t {
      if (r == 0 || cuts.empty()) return r == 0 ? 0 : table.rows;
      return r == ranks_ ? table.rows : cuts[cuts.size() * r / ranks_];
    };
    const auto first = cut(rank), last = cut(rank + 1);
    for (unsigned r = 0; r < ranks_; ++r) {
      const auto& source = written_[r]->tables[t];
      const auto begin = std::ranges::lower_bound(source.keys, first) - source.keys.begin();
      const auto end = std::ranges::lower_bound(source.keys, last) - source.keys.begin();
      const auto width = static_cast<std::ptrdiff_t>(table.width);
      own.parts_[r].keys.assign(source.keys.begin() + begin, source.keys.begin() + end);
      own.parts_[r].values.assign(source.values.begin() + begin * width, source.values.begin() + end * width);
    }
    tree_sum(own.parts_, [&](Rows& left, const Rows& right) { merge(left, right, table.width, own.scratch_); });
    auto& sum = own.parts_[0];
    for (auto& value : sum.values) value *= factor;
    rule_.apply(round, parameters_, t, sum.keys, sum.values);
  }
}

const Tables& MemoryExchange::parameters(Round round) {
  for (std::size_t t = 0; t < parameters_.layout.size(); ++t) {
    rule_.catch_up(round, parameters_, t, 0, parameters_.layout[t].rows);
  }
  return parameters_;
}

void MemoryExchange::set_learning_rate(double rate) { rule_.set_learning_rate(rate); }
void MemoryExchange::scale_accumulators(double factor) { rule_.scale_accumulators(factor); }

}  // namespace virga
