#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "virga/base/memory.h"

namespace virga {

/// One named table of parameters: `rows` keys of `width` floats each. Sparse logistic regression has "weights"
/// (features x 1) and "bias" (1 x 1); softmax has (features x classes) and (1 x classes).
struct TableSpec {
  std::string name;
  std::uint32_t rows = 0;
  std::uint32_t width = 1;
  bool regularised = true;  ///< does l1/l2 apply? Never to a bias.
  bool sparse = false;      ///< is it read and updated by the keys of a mini-batch (true), or always whole (false)?
  bool doubles = false;     ///< are its values doubles? Only those of a Contribution may be, never parameters.

  [[nodiscard]] std::size_t size() const noexcept { return std::size_t{rows} * width; }
  bool operator==(const TableSpec&) const = default;
};

/// The tables of a model in declaration order, which is also the flat order of all parameters.
using Layout = std::vector<TableSpec>;

/// One value for each parameter (a model, a moment of an optimiser, ...), table by table: values[t] is
/// [layout[t].rows x layout[t].width], row-major.
struct Tables {
  explicit Tables(const Layout& layout_of_all = {}) : layout(layout_of_all) {
    for (const auto& table : layout) values.push_back(zeros<float>(table.size()));
  }
  Layout layout;
  std::vector<std::vector<float>> values;
  bool operator==(const Tables&) const = default;
};

/// The parameters that a mini-batch needs. tables[t] is [batch.keys x width] in the order of the batch's keys for a
/// sparse table, [rows x width] for any other.
struct CompactParameters {
  std::vector<std::vector<float>> tables;
  std::uint64_t version = 0;  ///< of values that stay for many rounds: of two that differ, never the same; else 0
};

}  // namespace virga
