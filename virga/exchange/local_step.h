#pragma once

#include <cstdint>
#include <vector>

#include "virga/batch/contribution.h"
#include "virga/control/control.h"
#include "virga/exchange/touched_rows.h"
#include "virga/optimizer/update_rule.h"

namespace virga {

/// Step `step` of a rank by itself: `gradients`, a sum, divided by its weight, goes to `rule`, and its rows to
/// `touched` ([tables]). A sum of weight 0 moves nothing. `scratch` is kept between calls. Throws Error(kDiverged).
void local_step(UpdateRule& rule, std::uint64_t step, const Contribution& gradients, Round round, unsigned rank,
                std::vector<TouchedRows>& touched, std::vector<float>& scratch);

/// The same for a rule whose touched rows nobody asks for.
void local_step(UpdateRule& rule, std::uint64_t step, const Contribution& gradients, Round round, unsigned rank,
                std::vector<float>& scratch);

void add_totals(const Contribution& contribution, RoundTotals& totals) noexcept;

}  // namespace virga
