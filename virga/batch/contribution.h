#pragma once

#include <cstdint>
#include <vector>

#include "virga/batch/table.h"

namespace virga {

/// What one rank adds to one table in one round. Sparse: `keys` ascending and unique, `values` [keys x width]. Whole
/// (`keys` empty and `whole`): `values` [rows x width]. A table of doubles has them in `doubles` instead.
struct TableContribution {
  bool whole = false;
  std::vector<std::uint32_t> keys;
  std::vector<float> values;
  std::vector<double> doubles = {};
  bool operator==(const TableContribution&) const = default;
};

/// What one rank contributes to a round: a *sum* over its part of the mini-batch. The division by the total weight
/// happens once, after the sums of all ranks have been added (in the balanced binary tree over adjacent ranks).
struct Contribution {
  std::vector<TableContribution> tables;  ///< in layout order
  double weight = 0;                      ///< total example weight (class weights included)
  double loss = 0;                        ///< weighted sum of the examples' losses, without regularisation
  std::uint64_t examples = 0;
};

/// The sum of what all ranks contributed to a round.
struct RoundTotals {
  double weight = 0;
  double loss = 0;
  std::uint64_t examples = 0;
  bool operator==(const RoundTotals&) const = default;
};

}  // namespace virga
