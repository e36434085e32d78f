#include "virga/exchange/relay_exchange.h"

#include <algorithm>
#include <utility>

#include "virga/base/error.h"
#include "virga/batch/key_overlap.h"
#include "virga/exchange/check_contribution.h"
#include "virga/exchange/mean.h"
#include "virga/exchange/round_mark.h"
#include "virga/exchange/spin.h"

namespace virga {
namespace {

/// Rows of a sparse table in the hands of a runner.
struct HeldRows {
  std::vector<float>& values;
  RowStates& states;
};

/// Calls copy(from, to) for each array of the rows.
template <typename Copy>
void for_each_array(const HeldRows& from, const HeldRows& to, const Copy& copy) {
  copy(from.values, to.values);
  copy(from.states.s1, to.states.s1);
  copy(from.states.s2, to.states.s2);
}

/// to[i] = from[picked[i]]
void pick(const HeldRows& from, std::span<const std::uint32_t> picked, std::size_t width, const HeldRows& to) {
  for_each_array(from, to, [&](const std::vector<float>& source, std::vector<float>& target) {
    target.resize(source.empty() ? 0 : picked.size() * width);
    if (target.empty()) return;
    if (width == 1) {
      std::ranges::transform(picked, target.begin(), [&](std::uint32_t i) { return source[i]; });
      return;
    }
    auto* out = target.data();
    for (const auto i : picked) out = std::copy_n(source.data() + i * width, width, out);
  });
}

/// to[places[i]] = from[i], or from[picked[i]] if `picked` is not empty.
void place(const HeldRows& from, std::span<const std::uint32_t> picked, std::span<const std::uint32_t> places,
           std::size_t width, const HeldRows& to) {
  for_each_array(from, to, [&](const std::vector<float>& source, std::vector<float>& target) {
    if (source.empty()) return;
    for (std::size_t i = 0; i < places.size(); ++i) {
      const std::size_t row = picked.empty() ? i : picked[i];
      if (width == 1) {
        target[places[i]] = source[row];
      } else {
        std::copy_n(source.data() + row * width, width, target.data() + places[i] * width);
      }
    }
  });
}

}  // namespace

class RelayExchange::Runner final : public Exchange {
 public:
  Runner(RelayExchange& shared, Round first, int spins)
      : shared_(shared), next_(first), announced_(spins), compared_(spins), written_(spins), taken_(spins) {}

  const CompactParameters& read(Round round, std::span<const std::uint32_t> keys) override;
  void write(Round round, const Contribution& contribution) override;

  /// Puts everything that this runner still holds back into the replica. While nobody is in a round.
  void give_up();
  void abort() {
    for (auto* mark : {&announced_, &compared_, &written_, &taken_}) mark->abort();
  }

 private:
  void wait(const RoundMark& mark, Round round) const {
    if (!mark.wait(round)) shared_.throw_error();
  }
  [[nodiscard]] const Layout& layout() const noexcept { return shared_.rule_.layout(); }
  void put_back_leaving(Runner& of, Round round);
  [[nodiscard]] HeldRows rows(std::size_t table) { return {compact_.tables[table], states_[table]}; }
  [[nodiscard]] HeldRows some() { return {some_values_, some_states_}; }
  void put_back(Runner& of, KeyOverlap::Items positions, KeyOverlap::Items keys);
  void fetch_all();
  void fetch_arriving(std::uint64_t step);
  void take_kept(Runner& before);
  void take_step(const Contribution& contribution);
  [[nodiscard]] std::span<const float> mean_of(std::span<const float> sum, const Contribution& contribution);

  RelayExchange& shared_;
  Round next_;  // of this runner

  // What other runners look at, when the marks say so:
  RoundMark announced_;  // keys_ are those of the round
  RoundMark compared_;   // overlap_ is that of the round before and this one
  RoundMark written_;    // rows stand after the round
  RoundMark taken_;      // the rows of the round before are no longer looked at
  std::vector<std::uint32_t> keys_;
  KeyOverlap overlap_;
  CompactParameters compact_;      // and that of the algorithm
  std::vector<RowStates> states_;  // [tables]; of a table that is not sparse nothing
  std::uint64_t step_after_ = 0;
  bool void_ = false;          // the round had no weight: its rows are in the replica, as they were
  std::mutex returning_;       // guards held_, while its rows go back
  std::optional<Round> held_;  // the round whose rows are not all back; with those that the next one keeps

  // Scratch:
  std::vector<float> some_values_;
  RowStates some_states_;
  std::vector<float> mean_;
};

RelayExchange::Runner& RelayExchange::runner_of(Round round) noexcept {
  return *runners_[(round - options_.start) % runners_.size()];
}

const CompactParameters& RelayExchange::Runner::read(Round round, std::span<const std::uint32_t> keys) {
  check(round == next_, "a runner reads its own rounds in order");
  if (shared_.aborted_) shared_.throw_error();
  const auto base = shared_.base_;  // as it has been since all met
  const bool succeeds = round > base;
  if (round - base >= shared_.runners_.size()) {
    const auto own = round - shared_.runners_.size();
    put_back_leaving(*this, own);
    wait(shared_.runner_of(own + 1).taken_, own + 1);
  }
  keys_.assign(keys.begin(), keys.end());
  announced_.set(round);
  states_.resize(layout().size());
  compact_.tables.resize(layout().size());
  if (succeeds) {
    auto& before = shared_.runner_of(round - 1);
    wait(before.announced_, round - 1);
    auto step = shared_.base_step_ + 1;
    if (round - base >= 2) {
      auto& last_but_one = shared_.runner_of(round - 2);
      wait(last_but_one.written_, round - 2);
      put_back_leaving(last_but_one, round - 2);
      step = last_but_one.step_after_ + 1;
    }
    // From here on all rows are in the replica but those of the round before.
    overlap_.find(before.keys_, keys_);
    compared_.set(round);
    fetch_arriving(step);  // if the round before has weight
    wait(before.written_, round - 1);
    before.void_ ? fetch_all() : take_kept(before);
  } else {
    compared_.set(round);
    fetch_all();
  }
  taken_.set(round);
  for (std::size_t t = 0; t < layout().size(); ++t) {
    if (layout()[t].sparse) continue;
    compact_.tables[t].resize(layout()[t].size());
    shared_.rule_.read_whole(t, compact_.tables[t]);
  }
  return compact_;
}

/// The rows of a round that was written and that the next one does not need go back, if nobody has seen to it yet.
void RelayExchange::Runner::put_back_leaving(Runner& of, Round round) {
  const auto& after = shared_.runner_of(round + 1);
  wait(after.compared_, round + 1);
  const std::lock_guard lock(of.returning_);
  if (of.held_ != round) return;
  put_back(of, after.overlap_.leaving(), after.overlap_.leaving_keys());
  of.held_.reset();
}

void RelayExchange::Runner::give_up() {
  if (!held_) return;
  if (shared_.runner_of(*held_ + 1).compared_.reached(*held_ + 1)) return put_back_leaving(*this, *held_);
  for (std::size_t t = 0; t < layout().size(); ++t) {
    if (layout()[t].sparse) shared_.rule_.return_own(step_after_, t, keys_, compact_.tables[t], states_[t]);
  }
  held_.reset();
}

void RelayExchange::Runner::put_back(Runner& of, KeyOverlap::Items positions, KeyOverlap::Items keys) {
  for (std::size_t t = 0; t < layout().size(); ++t) {
    if (!layout()[t].sparse) continue;
    pick(of.rows(t), positions, layout()[t].width, some());
    shared_.rule_.return_own(of.step_after_, t, keys, some_values_, some_states_);
  }
}

void RelayExchange::Runner::fetch_all() {
  for (std::size_t t = 0; t < layout().size(); ++t) {
    if (!layout()[t].sparse) continue;
    auto& values = compact_.tables[t];
    values.resize(keys_.size() * layout()[t].width);
    shared_.rule_.read_own(shared_.step_, t, keys_, values, states_[t]);
  }
}

/// Rows that the round before does not have, as they stand before `step`.
void RelayExchange::Runner::fetch_arriving(std::uint64_t step) {
  const auto arriving = overlap_.arriving();
  for (std::size_t t = 0; t < layout().size(); ++t) {
    if (!layout()[t].sparse) continue;
    const std::size_t width = layout()[t].width;
    some_values_.resize(arriving.size() * width);
    shared_.rule_.read_own(step, t, overlap_.arriving_keys(), some_values_, some_states_);
    const auto size = keys_.size() * width;
    compact_.tables[t].resize(size);
    if (shared_.rule_.states() > 0) states_[t].s1.resize(size);
    if (shared_.rule_.states() > 1) states_[t].s2.resize(size);
    place(some(), {}, arriving, width, rows(t));
  }
}

void RelayExchange::Runner::take_kept(Runner& before) {
  if (overlap_.kept_after().empty()) return;
  for (std::size_t t = 0; t < layout().size(); ++t) {
    if (!layout()[t].sparse) continue;
    place(before.rows(t), overlap_.kept_before(), overlap_.kept_after(), layout()[t].width, rows(t));
  }
}

void RelayExchange::Runner::write(Round round, const Contribution& contribution) {
  check(round == next_, "a runner writes the round that it has read");
  check_shape(contribution, layout(), round, 0);
  void_ = contribution.weight == 0;
  if (!void_) {
    take_step(contribution);
    ++shared_.step_;
    const std::lock_guard lock(returning_);
    held_ = round;
  }
  step_after_ = shared_.step_;
  // A row that is brought to a step and then not touched has other bits than one that was left alone: without a step,
  // what came from the replica stays as it is there; what came from the round before goes there.
  if (void_ && round > shared_.base_ && !shared_.runner_of(round - 1).void_) {
    put_back(*this, overlap_.kept_after(), overlap_.kept_keys());
  }
  shared_.totals_ = {contribution.weight, contribution.loss, contribution.examples};
  shared_.next_ = round + 1;
  if (shared_.options_.completed) shared_.options_.completed(round);
  next_ += shared_.runners_.size();
  written_.set(round);
  if (!void_ && shared_.runner_of(round + 1).compared_.reached(round + 1)) put_back_leaving(*this, round);
}

void RelayExchange::Runner::take_step(const Contribution& contribution) {
  auto& rule = shared_.rule_;
  for (std::size_t t = 0; t < layout().size(); ++t) {
    const auto& part = contribution.tables[t];
    const auto mean = mean_of(part.values, contribution);
    if (layout()[t].sparse) {
      // Not each key is compared: that would take a tenth of the step.
      check(part.keys.size() == keys_.size() &&
                (keys_.empty() || (part.keys.front() == keys_.front() && part.keys.back() == keys_.back())),
            "a contribution is to the rows that were read");
      rule.step_own(shared_.step_, t, compact_.tables[t], states_[t], mean);
    } else {
      rule.apply_whole(shared_.step_, t, 0, mean);
    }
  }
}

std::span<const float> RelayExchange::Runner::mean_of(std::span<const float> sum, const Contribution& contribution) {
  if (mean_.size() < sum.size()) mean_.resize(sum.size());
  const auto mean = std::span(mean_).first(sum.size());
  if (!divide_finite(sum, static_cast<float>(contribution.weight), mean)) {
    check_finite(contribution, layout(), next_, 0);
    throw_mean_diverged(next_);
  }
  return mean;
}

RelayExchange::RelayExchange(const Tables& parameters, const UpdateRuleOptions& rule, Options options)
    : rule_(parameters, rule, options.start),
      options_(std::move(options)),
      step_(options_.start),
      next_(options_.start),
      base_(options_.start),
      base_step_(options_.start) {
  check(options_.runners >= 2, "rounds are taken by turns among several");
  const int spins = spins_of(options_.runners);
  for (unsigned i = 0; i < options_.runners; ++i) {
    runners_.push_back(std::make_unique<Runner>(*this, options_.start + i, spins));
  }
}

RelayExchange::~RelayExchange() = default;

Exchange& RelayExchange::rank(unsigned runner) { return *runners_[runner]; }

void RelayExchange::abort(std::exception_ptr error) {
  {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
  }
  aborted_ = true;
  for (const auto& runner : runners_) runner->abort();
}

void RelayExchange::throw_error() {
  const std::lock_guard lock(mutex_);
  std::rethrow_exception(error_);
}

void RelayExchange::collect() {
  if (base_ == next_) return;
  const auto rounds = std::min<Round>(runners_.size(), next_ - base_);
  for (auto round = next_ - rounds; round < next_; ++round) runner_of(round).give_up();
  base_ = next_;
  base_step_ = step_;
}

void RelayExchange::copy_parameters(Round round, Tables& out) {
  check(round == next_, "parameters are those before the next round");
  collect();
  if (out.layout != rule_.layout()) out = Tables(rule_.layout());
  rule_.copy_parameters(step_, out, options_.threads);
}

void RelayExchange::set_learning_rate(double rate) {
  collect();
  rule_.set_learning_rate(step_, rate);
}

void RelayExchange::scale_accumulators(double factor) {
  collect();
  rule_.scale_accumulators(step_, factor, options_.threads);
}

}  // namespace virga
