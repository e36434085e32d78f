#include "virga/collective/all_reduce.h"

#include <algorithm>
#include <utility>

#include "virga/base/crash_point.h"
#include "virga/base/error.h"
#include "virga/collective/outbox.h"
#include "virga/collective/part_sum.h"
#include "virga/collective/retiring.h"

namespace virga {
namespace {

TableCuts uncut(const Layout& layout) { return cut_tables(layout, 1); }

}  // namespace

std::string_view to_string(Pattern pattern) noexcept {
  switch (pattern) {
    case Pattern::kLeader:
      return "leader";
    case Pattern::kScatterReduce:
      return "scatter-reduce";
    case Pattern::kAllToAll:
      return "all-to-all";
    case Pattern::kTree:
      return "tree";
    case Pattern::kPipelined:
      return "pipelined";
  }
  return "";
}

AllReduce::AllReduce(Channel& channel, const Group& group, const Layout& layout, TableCuts cuts, const Options& options)
    : channel_(channel),
      group_(group),
      layout_(layout),
      cuts_(std::move(cuts)),
      whole_(uncut(layout)),
      options_(options),
      table_sums_(layout.size()) {
  check(group_.rank < group_.size, "AllReduce: the member is in its group");
  check(cuts_.size() == layout_.size(), "AllReduce: every table is cut");
  check(options_.pieces > 0 && options_.pieces <= kMostPieces, "AllReduce: ranges have pieces, but not too many");
  const auto bounds = std::size_t{ranges(group_.size, options_)} + 1;
  for (const auto& cut : cuts_) check(cut.size() == bounds, "AllReduce: every member has a range, or so many pieces");
}

const std::vector<ContributionPart>& AllReduce::operator()(std::uint64_t round, const Contribution& contribution,
                                                           std::uint64_t decree, const Wait& wait) {
  held_.clear();
  if (group_.size == 1) {
    sums_.assign(1, part_of(contribution, layout_, whole_, 0, decree));
    return sums_;
  }
  retire(wait);
  switch (options_.pattern) {
    case Pattern::kLeader:
      leader(round, contribution, decree, wait);
      break;
    case Pattern::kScatterReduce:
      scatter_reduce(round, contribution, decree, wait);
      break;
    case Pattern::kAllToAll:
      all_to_all(round, contribution, decree, wait);
      break;
    case Pattern::kTree:
      tree(round, contribution, decree, wait);
      break;
    case Pattern::kPipelined:
      pipelined(round, contribution, decree, wait);
      break;
  }
  finished_before_ = std::exchange(finished_, round);
  return sums_;
}

void AllReduce::scatter_reduce(std::uint64_t round, const Contribution& contribution, std::uint64_t decree,
                               const Wait& wait) {
  const auto me = group_.rank;
  std::vector<std::uint32_t> others;
  for (std::uint32_t r = 0; r < group_.size; ++r) {
    if (r != me) others.push_back(r);
  }
  inputs_.resize(group_.size);
  sums_.resize(group_.size);

  // Merge: hand out the ranges of the others, sum the own one.
  std::vector<ContributionPart> parts;
  Inbox contributions{MessageKind::kContribution, {}, cuts_, true, inputs_};
  for (const auto r : others) {
    parts.push_back(part_of(contribution, layout_, cuts_, r, decree));
    contributions.keys.push_back(message_key(group_, round, options_.phase, r, me));
  }
  put_and_get(outbox(round, options_.phase, parts, others, MessageKind::kContribution), contributions, wait);
  inputs_[me] = part_of(contribution, layout_, cuts_, me, decree);
  sum_inputs(inputs_, table_sums_, sums_[me]);

  // Update: hand out the sum, collect the sums of the others.
  const auto update = static_cast<Phase>(options_.phase + 1);
  const std::uint32_t everybody = kEverybody;
  Inbox sums{MessageKind::kSum, {}, cuts_, false, sums_};
  for (const auto r : others) sums.keys.push_back(message_key(group_, round, update, r, kEverybody));
  put_and_get(outbox(round, update, {&sums_[me], 1}, {&everybody, 1}, MessageKind::kSum), sums, wait);
  check_totals(sums_[me].scalars);
}

void AllReduce::check_totals(const SumScalars& own) const {
  for (const auto& part : sums_) {
    if (part.scalars == own) continue;
    throw Error(ErrorKind::kCorrupt, "the members of a group disagree on the totals of a round",
                "they run different programs or different jobs");
  }
}

void AllReduce::leader(std::uint64_t round, const Contribution& contribution, std::uint64_t decree, const Wait& wait) {
  constexpr std::uint32_t kLeader = 0;
  const auto update = static_cast<Phase>(options_.phase + 1);
  sums_.resize(1);
  if (group_.rank != kLeader) {
    const auto own = part_of(contribution, layout_, whole_, 0, decree);
    const auto to = kLeader;
    const Inbox sum{MessageKind::kSum, {message_key(group_, round, update, kLeader, kEverybody)}, whole_, false, sums_};
    put_and_get(outbox(round, options_.phase, {&own, 1}, {&to, 1}, MessageKind::kContribution), sum, wait);
    return;
  }
  inputs_.resize(group_.size);
  Inbox contributions{MessageKind::kContribution, {}, whole_, true, inputs_};
  for (std::uint32_t r = 1; r < group_.size; ++r) {
    contributions.keys.push_back(message_key(group_, round, options_.phase, r, kLeader));
  }
  get(contributions, wait);
  inputs_[kLeader] = part_of(contribution, layout_, whole_, 0, decree);
  sum_inputs(inputs_, table_sums_, sums_[0]);
  const std::uint32_t everybody = kEverybody;
  put(outbox(round, update, {sums_.data(), 1}, {&everybody, 1}, MessageKind::kSum), wait);
}

void AllReduce::all_to_all(std::uint64_t round, const Contribution& contribution, std::uint64_t decree,
                           const Wait& wait) {
  const auto me = group_.rank;
  inputs_.resize(group_.size);
  sums_.resize(1);
  Inbox contributions{MessageKind::kContribution, {}, whole_, true, inputs_};
  for (std::uint32_t r = 0; r < group_.size; ++r) {
    if (r != me) contributions.keys.push_back(message_key(group_, round, options_.phase, r, kEverybody));
  }
  inputs_[me] = part_of(contribution, layout_, whole_, 0, decree);
  const std::uint32_t everybody = kEverybody;
  put_and_get(outbox(round, options_.phase, {&inputs_[me], 1}, {&everybody, 1}, MessageKind::kContribution),
              contributions, wait);
  sum_inputs(inputs_, table_sums_, sums_[0]);
}

/// Member r adds to its own what r + 1, r + 2, r + 4, ... have summed, as far as these are multiples away (tree_sum),
/// and hands it to the one below whom it stands.
void AllReduce::tree(std::uint64_t round, const Contribution& contribution, std::uint64_t decree, const Wait& wait) {
  const auto me = group_.rank;
  const auto update = static_cast<Phase>(options_.phase + 1);
  inputs_.resize(group_.size);
  sums_.resize(1);
  Inbox children{MessageKind::kContribution, {}, whole_, true, inputs_};
  std::uint32_t distance = 1;
  for (; me % (2 * distance) == 0 && distance < group_.size; distance *= 2) {
    if (me + distance >= group_.size) continue;
    children.keys.push_back(message_key(group_, round, options_.phase, me + distance, me));
  }
  auto partial = part_of(contribution, layout_, whole_, 0, decree);
  if (!children.keys.empty()) get(children, wait);
  of_each_.resize(children.keys.size(), std::vector<TableSum>(layout_.size()));
  for (std::size_t level = 0; level < children.keys.size(); ++level) {
    partial = sum_of(partial, inputs_[children.keys[level].source], of_each_[level]);
  }
  lap(WorkPhase::kSum);
  if (me == 0) {
    sums_[0] = std::move(partial);
    const std::uint32_t everybody = kEverybody;
    put(outbox(round, update, {sums_.data(), 1}, {&everybody, 1}, MessageKind::kSum), wait);
    return;
  }
  const auto parent = me - distance;
  const Inbox sum{MessageKind::kSum, {message_key(group_, round, update, 0, kEverybody)}, whole_, false, sums_};
  put_and_get(outbox(round, options_.phase, {&partial, 1}, {&parent, 1}, MessageKind::kContribution), sum, wait);
}

ContributionPart AllReduce::sum_of(const ContributionPart& left, const ContributionPart& right,
                                   std::vector<TableSum>& table_sums) const {
  ContributionPart sum;
  sum.scalars = left.scalars;
  add_scalars(sum.scalars, right.scalars);
  sum.tables.resize(layout_.size());
  for (std::size_t t = 0; t < layout_.size(); ++t) {
    sum.tables[t].first = left.tables[t].first;
    std::vector<SparsePart> both{left.tables[t].rows, right.tables[t].rows};
    sum.tables[t].rows = sum_table(layout_[t], both, table_sums[t]);
  }
  return sum;
}

/// Sums `inputs`, which are one range of all members; `sum` refers to them and to `table_sums`.
void AllReduce::sum_inputs(std::span<const ContributionPart> inputs, std::vector<TableSum>& table_sums,
                           ContributionPart& sum) {
  sum_parts(inputs, layout_, table_sums, sum);
  lap(WorkPhase::kSum);
}

Outbox AllReduce::outbox(std::uint64_t round, Phase phase, std::span<const ContributionPart> parts,
                         std::span<const std::uint32_t> destinations, MessageKind kind) {
  Outbox outbox(group_);
  if (storage_.size() < parts.size()) storage_.resize(parts.size());
  for (std::size_t i = 0; i < parts.size(); ++i) {
    outbox.add(round, phase, destinations[i], kind, parts[i].scalars.totals.weight,
               encode_part(parts[i], layout_, storage_[i]));
  }
  lap(WorkPhase::kEncode);
  return outbox;
}

void AllReduce::put(Outbox outbox, const Wait& wait) {
  const auto messages = outbox.size();
  crash_point("before_put");
  sent(messages, outbox.put(channel_, wait));
  crash_point("after_put");
  lap(WorkPhase::kSend);
}

void AllReduce::get(const Inbox& inbox, const Wait& wait) {
  crash_point("before_get");
  await(inbox);
  channel_.get(
      inbox.keys, [&](const MessageKey& key, const SharedBytes& message) { take(inbox, key, message); }, wait);
  crash_point("after_get");
  lap(WorkPhase::kWait);
}

void AllReduce::put_and_get(Outbox outbox, const Inbox& inbox, const Wait& wait) {
  const auto messages = outbox.size();
  crash_point("before_put");
  await(inbox);
  sent(messages, outbox.put_and_get(
                     channel_, inbox.keys,
                     [&](const MessageKey& key, const SharedBytes& message) { take(inbox, key, message); }, wait));
  crash_point("after_get");
  lap(WorkPhase::kWait);
}

void AllReduce::sent(std::uint64_t messages, std::uint64_t bytes) {
  traffic_.messages_put += messages;
  traffic_.bytes_put += bytes;
  unretired_bytes_ += bytes;
}

void AllReduce::await(const Inbox& inbox) {
  missing_.clear();
  for (const auto& key : inbox.keys) missing_.push_back(key.source);
}

void AllReduce::take(const Inbox& inbox, const MessageKey& key, const SharedBytes& message) {
  lap(WorkPhase::kWait);
  const auto range = options_.pattern != Pattern::kScatterReduce ? 0 : inbox.own_range ? group_.rank : key.source;
  auto& part = inbox.parts[inbox.parts.size() == 1 ? 0 : key.source];
  decode(key, message, inbox.kind, inbox.cuts, range, part);
  std::erase(missing_, key.source);
  lap(WorkPhase::kDecode);
}

void AllReduce::decode(const MessageKey& key, const SharedBytes& message, MessageKind kind, const TableCuts& cuts,
                       std::uint32_t range, ContributionPart& part) {
  const auto opened = open_message(message, key, kind);
  decode_part(opened.body, layout_, cuts, range, "a contribution (" + to_string(key) + ")", part);
  held_.push_back(message);
  ++traffic_.messages_got;
  traffic_.bytes_got += message.size();
}

void AllReduce::retire(const Wait& wait) {
  // This member has finished its last round, and so heard of all others in it: they have left the rounds before.
  if (!finished_before_) return;
  if (unretired_bytes_ < kMostUnretiredBytes && ++unretired_rounds_ < kMostUnretiredRounds) return;
  channel_.retire(group_.view, group_.id, group_.rank, *finished_before_, wait);
  lap(WorkPhase::kSend);
  unretired_bytes_ = unretired_rounds_ = 0;
}

}  // namespace virga
