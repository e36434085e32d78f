#pragma once

#include <span>
#include <vector>

#include "virga/collective/contribution_codec.h"
#include "virga/collective/table_sum.h"

namespace virga {

/// Adds up contributions to one range, inputs[r] of position r, in the order of tree_sum: totals, the greatest decree,
/// tables. All inputs have all tables of `layout`; a position that has nothing yet has empty ones. `sums` [tables] is
/// scratch memory; `sum` refers to it and to the inputs, and is valid until either changes.
void sum_parts(std::span<const ContributionPart> inputs, const Layout& layout, std::vector<TableSum>& sums,
               ContributionPart& sum);

/// `parts` of one table, added up likewise; `parts` is scratch memory, too.
[[nodiscard]] SparsePart sum_table(const TableSpec& table, std::vector<SparsePart>& parts, TableSum& table_sum);

/// What goes with tables, added up likewise.
void add_scalars(SumScalars& left, const SumScalars& right) noexcept;

}  // namespace virga
