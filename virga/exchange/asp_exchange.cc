#include "virga/exchange/asp_exchange.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "virga/base/crash_point.h"
#include "virga/base/error.h"
#include "virga/base/units.h"
#include "virga/exchange/bsp_exchange.h"
#include "virga/exchange/check_contribution.h"
#include "virga/exchange/global_model.h"
#include "virga/exchange/local_step.h"

namespace virga {

std::string AspExchange::register_name(std::uint32_t view) { return fmt::format("global/{}", view); }

AspExchange::AspExchange(Channel& channel, Register& models, const Options& options, const Tables& parameters,
                         const UpdateRuleOptions& rule, const Period& period, Position start)
    : ReplicaExchange(channel, options, {}, {}, start),
      models_(models),
      period_(period),
      name_(register_name(options.group.view)),
      rule_(parameters, rule, start.step),
      model_(parameters.layout) {
  for (const auto& table : parameters.layout) {
    auto& keys = all_keys_.emplace_back(table.sparse ? table.rows : 0);
    std::iota(keys.begin(), keys.end(), 0U);
  }
  const auto bytes = global_model_bytes(parameters.layout);
  if (bytes <= models.max_value_bytes()) return;
  throw Error(ErrorKind::kTooLarge,
              fmt::format("{}: the global model of protocol \"asp\" has {}, and a register holds {} at most",
                          models.uri(), format_bytes(bytes), format_bytes(models.max_value_bytes())),
              "use --channel ps, redis or s3, or another --protocol");
}

const CompactParameters& AspExchange::read(Round round, std::span<const std::uint32_t> keys) {
  check(round == position_.round, "rounds are read in order");
  lap(WorkPhase::kData);
  if (!period_began_) period_began_ = Deadline::Clock::now();
  version_ ? fetch() : open();
  read_rows(rule_, position_.step, keys, compact_);
  lap(WorkPhase::kRead);
  return compact_;
}

/// The first model of the view: that of rank 0.
void AspExchange::open() {
  if (options_.group.rank == 0) {
    rule_.copy_parameters(position_.step, model_);
    const auto bytes = encode_global_model(model_, 0);
    version_ = models_.write(name_, bytes, wait());
    ++traffic_.messages_put;
    traffic_.bytes_put += bytes.size();
    lap(WorkPhase::kSend);
  } else {
    waits_for_model_ = true;
    take(models_.wait_newer(name_, 0, wait()));
    waits_for_model_ = false;
  }
  opened_ = *version_;
}

void AspExchange::fetch() {
  const auto value = models_.read(name_, wait());
  if (!value) {
    throw Error(ErrorKind::kUnavailable, fmt::format("{}: the global model \"{}\" is gone", models_.uri(), name_),
                "the store must keep what it is given while the run goes on");
  }
  take(*value);
}

void AspExchange::take(const RegisterValue& value) {
  ++traffic_.messages_got;
  traffic_.bytes_got += value.bytes.size();
  lap(WorkPhase::kWait);
  if (version_ == value.version) return;  // nobody else has written since: the rule has it, to the bit
  chain_ = decode_global_model(value.bytes.view(), models_.uri() + ": " + name_, model_);
  version_ = value.version;
  lap(WorkPhase::kDecode);
  for (std::size_t t = 0; t < model_.layout.size(); ++t) {
    rows_.resize(model_.values[t].size());
    if (model_.layout[t].sparse) {
      rule_.read_own(position_.step, t, all_keys_[t], rows_, states_);
      rule_.assign(position_.step, t, all_keys_[t], model_.values[t], states_);
    } else {
      rule_.read_whole_own(t, rows_, states_);
      rule_.assign_whole(t, 0, model_.values[t], states_);
    }
  }
}

void AspExchange::write(Round round, const Contribution& contribution) {
  check(round == position_.round && version_, "rounds are written in order, after they were read");
  lap(WorkPhase::kCompute);
  check_shape(contribution, rule_.layout(), round, options_.group.rank);
  check_finite(contribution, rule_.layout(), round, options_.group.rank);
  add_totals(contribution, own_totals_);
  if (contribution.weight > 0) {
    crash_point("before_apply");
    local_step(rule_, position_.step, contribution, round, options_.group.rank, gradient_);
    ++position_.step;
    crash_point("after_apply");
    lap(WorkPhase::kApply);
    put_back();
  }
  ++position_.round;
  go_on_alone();
  if (period_.ends_after(round)) meet(round);
}

void AspExchange::put_back() {
  rule_.copy_parameters(position_.step, model_);
  ++chain_;
  const auto bytes = encode_global_model(model_, chain_);
  lap(WorkPhase::kEncode);
  const auto read = *version_;
  version_ = models_.write(name_, bytes, wait());
  const auto writes = models_.writes_between(read, *version_);
  const auto of_others = writes > 0 ? writes - 1 : 0;
  staleness_.add(of_others);
  staleness_.overwritten += of_others;
  ++traffic_.messages_put;
  traffic_.bytes_put += bytes.size();
  lap(WorkPhase::kSend);
}

void AspExchange::meet(Round round) {
  Contribution totals;
  totals.weight = own_totals_.weight;
  totals.loss = own_totals_.loss;
  totals.examples = own_totals_.examples;
  const auto took = Deadline::Clock::now() - *period_began_;
  static_cast<void>(synchronise(round, totals, options_.patience + took));
  own_totals_ = {};
  period_began_.reset();
  if (options_.group.rank != 0) return;
  fetch();
  const auto written = models_.writes_between(opened_, *version_);
  // A version that does not stem from an update may be replaced by one that does.
  const auto lost = std::max(all_updates_.lost, written > chain_ ? written - chain_ : 0);
  updates_ = {.written = written - all_updates_.written, .lost = lost - all_updates_.lost};
  all_updates_ = {.written = written, .lost = lost};
}

std::vector<std::uint32_t> AspExchange::missing() const {
  return waits_for_model_ ? std::vector<std::uint32_t>{0} : ReplicaExchange::missing();
}

Traffic AspExchange::traffic() const {
  auto traffic = ReplicaExchange::traffic();
  traffic += traffic_;
  return traffic;
}

}  // namespace virga
