#include "virga/collective/part_sum.h"

#include <algorithm>

#include "virga/collective/tree_sum.h"

namespace virga {

void add_scalars(SumScalars& left, const SumScalars& right) noexcept {
  left.totals.weight += right.totals.weight;
  left.totals.loss += right.totals.loss;
  left.totals.examples += right.totals.examples;
  left.decree = std::max(left.decree, right.decree);
}

SparsePart sum_table(const TableSpec& table, std::vector<SparsePart>& parts, TableSum& table_sum) {
  if (table.sparse) return table_sum.sparse(parts, table.width);
  if (table.doubles) {
    std::vector<std::span<const double>> whole;
    for (const auto& part : parts) whole.push_back(part.doubles);
    return {{}, {}, table_sum.whole(whole)};
  }
  std::vector<std::span<const float>> whole;
  for (const auto& part : parts) whole.push_back(part.values);
  return {{}, table_sum.whole(whole)};
}

void sum_parts(std::span<const ContributionPart> inputs, const Layout& layout, std::vector<TableSum>& sums,
               ContributionPart& sum) {
  std::vector<SumScalars> scalars;
  for (const auto& input : inputs) scalars.push_back(input.scalars);
  tree_sum(std::span(scalars), add_scalars);
  sum.scalars = scalars[0];
  sum.tables.resize(layout.size());
  std::vector<SparsePart> parts;
  for (std::size_t t = 0; t < layout.size(); ++t) {
    sum.tables[t].first = inputs[0].tables[t].first;
    parts.clear();
    for (const auto& input : inputs) parts.push_back(input.tables[t].rows);
    sum.tables[t].rows = sum_table(layout[t], parts, sums[t]);
  }
}

}  // namespace virga
