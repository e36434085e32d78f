#include "virga/exchange/local_step.h"

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/exchange/check_contribution.h"
#include "virga/exchange/mean.h"

namespace virga {

void local_step(UpdateRule& rule, std::uint64_t step, const Contribution& gradients, Round round, unsigned rank,
                std::vector<float>& scratch) {
  if (gradients.weight == 0) return;
  for (std::size_t t = 0; t < gradients.tables.size(); ++t) {
    const auto& table = gradients.tables[t];
    if (table.values.empty()) continue;
    scratch.resize(table.values.size());
    if (!divide_finite(table.values, static_cast<float>(gradients.weight), scratch)) {
      throw Error(ErrorKind::kDiverged, fmt::format("round {}, rank {}: the mean gradient is not finite", round, rank),
                  kDivergedRemedy);
    }
    rule.layout()[t].sparse ? rule.apply(step, t, table.keys, scratch) : rule.apply_whole(step, t, 0, scratch);
  }
}

void local_step(UpdateRule& rule, std::uint64_t step, const Contribution& gradients, Round round, unsigned rank,
                std::vector<TouchedRows>& touched, std::vector<float>& scratch) {
  if (gradients.weight == 0) return;
  for (std::size_t t = 0; t < gradients.tables.size(); ++t) {
    if (rule.layout()[t].sparse) touched[t].add(gradients.tables[t].keys);
  }
  local_step(rule, step, gradients, round, rank, scratch);
}

void add_totals(const Contribution& contribution, RoundTotals& totals) noexcept {
  totals.weight += contribution.weight;
  totals.loss += contribution.loss;
  totals.examples += contribution.examples;
}

}  // namespace virga
