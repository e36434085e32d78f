#pragma once

#include <cstdint>
#include <vector>

#include "virga/base/random.h"
#include "virga/batch/contribution.h"
#include "virga/batch/table.h"
#include "virga/control/control.h"

namespace virga {

inline constexpr std::uint32_t kRows = 500;
inline const Random kRandom(11, Purpose::kTest);

inline Layout layout_of(std::uint32_t width) {
  return {{.name = "weights", .rows = kRows, .width = width, .regularised = true, .sparse = true},
          {.name = "hidden", .rows = 9, .width = 7, .regularised = true, .sparse = false},
          {.name = "bias", .rows = 1, .width = width, .regularised = false, .sparse = false}};
}

inline Tables initial_parameters(std::uint32_t width) {
  Tables tables(layout_of(width));
  std::uint64_t item = 0;
  for (auto& values : tables.values) {
    for (auto& value : values) value = static_cast<float>(kRandom.uniform(0, item++) - 0.5);
  }
  return tables;
}

inline std::vector<float> random_values(std::size_t count, std::uint32_t stream, std::uint64_t item) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    values[i] = static_cast<float>(4 * kRandom.uniform(stream, item * 100'000 + i) - 2);
  }
  return values;
}

/// What `rank` contributes to `round`, a pure function of both. Rank 1 is now and then out of rows, in round 5 all are.
inline Contribution contribution_of(const Layout& layout, Round round, unsigned rank) {
  const auto item = round * 16 + rank;
  Contribution result;
  result.tables.resize(layout.size());
  for (std::size_t t = 0; t < layout.size(); ++t) result.tables[t].whole = !layout[t].sparse;
  if (round == 5 || (rank == 1 && round % 3 == 0)) return result;
  for (std::uint32_t key = 0; key < kRows; ++key) {
    const bool common = kRandom.uniform(1, round * kRows + key) < 0.1;
    if (common || kRandom.uniform(2, item * kRows + key) < 0.1) result.tables[0].keys.push_back(key);
  }
  for (std::uint32_t t = 0; t < layout.size(); ++t) {
    const auto size = layout[t].sparse ? result.tables[t].keys.size() * layout[t].width : layout[t].size();
    result.tables[t].values = random_values(size, 3 + t, item);
  }
  result.examples = 10 + rank;
  result.weight = 1.1 * static_cast<double>(result.examples);
  result.loss = kRandom.uniform(9, item);
  return result;
}

}  // namespace virga
