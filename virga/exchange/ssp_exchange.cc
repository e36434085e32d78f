#include "virga/exchange/ssp_exchange.h"

#include <algorithm>
#include <utility>

#include "virga/base/crash_point.h"
#include "virga/base/error.h"
#include "virga/collective/outbox.h"
#include "virga/collective/part_sum.h"
#include "virga/collective/retiring.h"
#include "virga/exchange/bsp_exchange.h"
#include "virga/exchange/check_contribution.h"

namespace virga {
namespace {

constexpr Phase kContributions = 0;

/// The rows of `part` whose keys are among `keys`, both ascending.
void select(const SparsePart& part, std::span<const std::uint32_t> keys, std::size_t width,
            std::vector<std::uint32_t>& found, std::vector<float>& values) {
  found.clear();
  values.clear();
  auto at = part.keys.begin();
  for (const auto key : keys) {
    at = std::lower_bound(at, part.keys.end(), key);
    if (at == part.keys.end()) return;
    if (*at != key) continue;
    found.push_back(key);
    const auto row = static_cast<std::size_t>(at - part.keys.begin());
    const auto from = part.values.subspan(row * width, width);
    values.insert(values.end(), from.begin(), from.end());
  }
}

}  // namespace

SspExchange::OpenRound::OpenRound(std::size_t ranks, std::size_t tables)
    : parts(ranks), has_come(ranks), table_sums(tables) {
  for (auto& part : parts) part.tables.resize(tables);
}

SspExchange::SspExchange(Channel& channel, const Options& options, const Tables& parameters,
                         const UpdateRuleOptions& rule, const Slack& slack, Position start)
    : ReplicaExchange(options, start),
      channel_(channel),
      slack_(slack),
      whole_(cut_tables(parameters.layout, 1)),
      settled_(parameters, rule, start.step),
      ahead_(parameters, rule, start.step),
      next_(start.round),
      inbox_(std::make_unique<RoundInbox>(channel, RoundInbox::Options{.group = options.group,
                                                                       .phase = kContributions,
                                                                       .first = start.round,
                                                                       .window = slack.staleness + 1,
                                                                       .stop = options.stop})) {}

const CompactParameters& SspExchange::read(Round round, std::span<const std::uint32_t> keys) {
  check(round == next_, "rounds are read in order");
  lap(WorkPhase::kData);
  staleness_.add(round - position_.round);
  const auto ahead = rounds_to_look_ahead(round);
  if (ahead == 0) {
    read_rows(settled_, position_.step, keys, compact_);
  } else {
    copy_to_ahead(keys);
    auto step = position_.step;
    for (std::size_t i = 0; i < ahead; ++i) {
      if (sum_of(open_[i]).scalars.totals.weight == 0) continue;
      look_ahead(open_[i], position_.round + i, step, keys);
      ++step;
    }
    read_rows(ahead_, step, keys, compact_);
  }
  lap(WorkPhase::kRead);
  return compact_;
}

/// How many open rounds `round` is computed from: those before it, and what others have sent of later ones, but of none
/// with s = 0.
std::size_t SspExchange::rounds_to_look_ahead(Round round) const noexcept {
  const auto wanted = std::min<std::uint64_t>(round + slack_.staleness - position_.round, open_.size());
  const auto come = [](const OpenRound& one) { return one.come > 0; };
  const bool any = std::any_of(open_.begin(), open_.begin() + static_cast<std::ptrdiff_t>(wanted), come);
  return any ? wanted : 0;
}

void SspExchange::copy_to_ahead(std::span<const std::uint32_t> keys) {
  const auto& layout = settled_.layout();
  for (std::size_t t = 0; t < layout.size(); ++t) {
    if (layout[t].sparse) {
      rows_.resize(keys.size() * layout[t].width);
      settled_.read_own(position_.step, t, keys, rows_, states_);
      ahead_.assign(position_.step, t, keys, rows_, states_);
    } else {
      rows_.resize(layout[t].size());
      settled_.read_whole_own(t, rows_, states_);
      ahead_.assign_whole(t, 0, rows_, states_);
    }
  }
}

void SspExchange::look_ahead(OpenRound& open_round, Round round, std::uint64_t step,
                             std::span<const std::uint32_t> keys) {
  const auto& layout = settled_.layout();
  const auto& sum = sum_of(open_round);
  const double weight = sum.scalars.totals.weight * options_.group.size / open_round.come;
  for (std::size_t t = 0; t < layout.size(); ++t) {
    const auto& rows = sum.tables[t].rows;
    if (rows.values.empty()) continue;
    if (layout[t].sparse) {
      select(rows, keys, layout[t].width, some_keys_, some_values_);
      ahead_.apply(step, t, some_keys_, mean_of(some_values_, weight, round));
    } else {
      ahead_.apply_whole(step, t, sum.tables[t].first, mean_of(rows.values, weight, round));
    }
  }
}

void SspExchange::write(Round round, const Contribution& contribution) {
  check(round == next_, "rounds are written in order");
  lap(WorkPhase::kCompute);
  check_shape(contribution, settled_.layout(), round, options_.group.rank);
  check_finite(contribution, settled_.layout(), round, options_.group.rank);
  ++next_;
  missing_.clear();
  go_on_alone();
  retire();
  hand_out(round, contribution);
  accept(inbox_->take());

  // What the next round must have waited for; all, if it begins an epoch.
  const auto slack = Period{.rounds_per_epoch = slack_.rounds_per_epoch}.ends_after(round) ? 0 : slack_.staleness;
  SumScalars settled;
  const auto first = position_.round;
  for (;;) {
    // Once a round has a decree, all ranks leave after it.
    while (settled.decree == 0 && !open_.empty() && open_.front().come == options_.group.size) settle(settled);
    if (settled.decree != 0 || position_.round + slack >= next_) break;
    wait_for_some();
  }
  if (position_.round > first) agree(settled);
  lap(WorkPhase::kApply);
}

void SspExchange::hand_out(Round round, const Contribution& contribution) {
  auto& open_round = open(round);
  open_round.own = contribution;
  auto& part = open_round.parts[options_.group.rank];
  part = part_of(open_round.own, settled_.layout(), whole_, 0, own_decree());
  open_round.has_come[options_.group.rank] = true;
  ++open_round.come;
  if (options_.group.size == 1) return;
  Outbox outbox(options_.group);
  outbox.add(round, kContributions, kEverybody, MessageKind::kContribution, contribution.weight,
             encode_part(part, settled_.layout(), storage_));
  lap(WorkPhase::kEncode);
  crash_point("before_put");
  const auto bytes = outbox.put(channel_, {Deadline::in(options_.patience), options_.stop});
  crash_point("after_put");
  ++traffic_.messages_put;
  traffic_.bytes_put += bytes;
  unretired_bytes_ += bytes;
  ++unretired_rounds_;
  lap(WorkPhase::kSend);
}

SspExchange::OpenRound& SspExchange::open(Round round) {
  const auto index = round - position_.round;
  while (open_.size() <= index) open_.emplace_back(options_.group.size, settled_.layout().size());
  return open_[index];
}

const ContributionPart& SspExchange::sum_of(OpenRound& round) {
  if (round.summed != round.come) {
    sum_parts(round.parts, settled_.layout(), round.table_sums, round.sum);
    round.summed = round.come;
  }
  return round.sum;
}

void SspExchange::accept(const std::vector<RoundInbox::Arrival>& arrivals) {
  for (const auto& [key, message] : arrivals) {
    const auto opened = open_message(message, key, MessageKind::kContribution);
    auto& round = open(key.round);
    if (round.has_come[key.source]) continue;
    decode_part(opened.body, settled_.layout(), whole_, 0, "a contribution (" + to_string(key) + ")",
                round.parts[key.source]);
    round.held.push_back(message);
    round.has_come[key.source] = true;
    ++round.come;
    ++traffic_.messages_got;
    traffic_.bytes_got += message.size();
  }
  lap(WorkPhase::kDecode);
}

void SspExchange::wait_for_some() {
  missing_.clear();
  std::vector<MessageKey> keys;
  for (std::uint32_t rank = 0; rank < options_.group.size; ++rank) {
    if (open_.front().has_come[rank]) continue;
    missing_.push_back(rank);
    keys.push_back(message_key(options_.group, position_.round, kContributions, rank, kEverybody));
  }
  crash_point("before_get");
  const auto arrivals = inbox_->wait({Deadline::in(options_.patience), options_.stop});
  crash_point("after_get");
  lap(WorkPhase::kWait);
  if (arrivals.empty()) throw_missing(channel_, keys);
  accept(arrivals);
}

/// Applies the first open round, of which all contributions are there.
void SspExchange::settle(SumScalars& settled) {
  const auto& layout = settled_.layout();
  const auto& sum = sum_of(open_.front());
  lap(WorkPhase::kSum);
  crash_point("before_apply");
  const auto weight = sum.scalars.totals.weight;
  if (weight > 0) {
    for (std::size_t t = 0; t < layout.size(); ++t) {
      const auto& part = sum.tables[t];
      if (part.rows.values.empty()) continue;
      const auto mean = mean_of(part.rows.values, weight, position_.round);
      layout[t].sparse ? settled_.apply(position_.step, t, part.rows.keys, mean)
                       : settled_.apply_whole(position_.step, t, part.first, mean);
    }
    ++position_.step;
  }
  add_scalars(settled, sum.scalars);
  ++position_.round;
  open_.pop_front();
  crash_point("after_apply");
  lap(WorkPhase::kApply);
}

/// Who has contributed to round r had got all of the rounds up to r - 1 - s before.
void SspExchange::retire() {
  const Round kept = 2 + Round{slack_.staleness};
  if (position_.round < kept) return;
  if (unretired_bytes_ < kMostUnretiredBytes && unretired_rounds_ < kMostUnretiredRounds) return;
  const auto& group = options_.group;
  channel_.retire(group.view, group.id, group.rank, position_.round - kept,
                  {Deadline::in(options_.patience), options_.stop});
  lap(WorkPhase::kSend);
  unretired_bytes_ = unretired_rounds_ = 0;
}

void SspExchange::set_learning_rate(double rate) {
  settled_.set_learning_rate(position_.step, rate);
  ahead_.set_learning_rate(position_.step, rate);
}

void SspExchange::scale_accumulators(double factor) { settled_.scale_accumulators(position_.step, factor); }

void SspExchange::load(const ReplicaState& state) {
  settled_.load(position_.step, state.rule);
  ahead_.load(position_.step, state.rule);
}

}  // namespace virga
