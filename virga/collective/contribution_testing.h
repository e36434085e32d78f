#pragma once

#include <cstdint>

#include "virga/base/random.h"
#include "virga/batch/contribution.h"
#include "virga/batch/table.h"

namespace virga {

/// A sparse table, a whole one and a bias.
inline Layout testing_layout(std::uint32_t rows, std::uint32_t width) {
  return {{.name = "weights", .rows = rows, .width = width, .regularised = true, .sparse = true},
          {.name = "hidden", .rows = 9, .width = 7, .regularised = true, .sparse = false},
          {.name = "bias", .rows = 1, .width = width, .regularised = false, .sparse = false}};
}

/// The same tables, of doubles.
inline Layout testing_double_layout(std::uint32_t rows, std::uint32_t width) {
  auto layout = testing_layout(rows, width);
  for (auto& table : layout) table.doubles = true;
  return layout;
}

/// What `rank` contributes to `round`, a pure function of both. Rank 1 is now and then out of rows, in round 5 all are.
inline Contribution testing_contribution(const Layout& layout, std::uint64_t round, unsigned rank) {
  const Random random(11, Purpose::kTest);
  const auto item = round * 16 + rank;
  Contribution result;
  result.tables.resize(layout.size());
  for (std::size_t t = 0; t < layout.size(); ++t) result.tables[t].whole = !layout[t].sparse;
  if (round == 5 || (rank == 1 && round % 3 == 0)) return result;
  const auto rows = layout[0].rows;
  for (std::uint32_t key = 0; key < rows; ++key) {
    const bool common = random.uniform(1, round * rows + key) < 0.1;
    if (common || random.uniform(2, item * rows + key) < 0.1) result.tables[0].keys.push_back(key);
  }
  for (std::uint32_t t = 0; t < layout.size(); ++t) {
    const auto size = layout[t].sparse ? result.tables[t].keys.size() * layout[t].width : layout[t].size();
    for (std::size_t i = 0; i < size; ++i) {
      const double value = 4 * random.uniform(3 + t, item * 100'000 + i) - 2;
      if (layout[t].doubles) {
        result.tables[t].doubles.push_back(value);
      } else {
        result.tables[t].values.push_back(static_cast<float>(value));
      }
    }
  }
  result.examples = 10 + rank;
  result.weight = 1.1 * static_cast<double>(result.examples);
  result.loss = random.uniform(9, item);
  return result;
}

}  // namespace virga
