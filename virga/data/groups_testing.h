#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "virga/base/random.h"
#include "virga/batch/row_group.h"

namespace virga {

/// Row groups for tests and benchmarks.
struct GroupShape {
  std::uint32_t rows = 1000;
  std::uint32_t features = 1U << 20;
  std::uint32_t row_length = 39;  ///< most entries of a row
  bool same_length = true;        ///< or any from 0 to row_length
  enum class Values : std::uint8_t { kOnes, kBytes, kFloats } values = Values::kOnes;
  bool real_labels = false;
  bool weights = false;
  bool dense = false;
};

/// One random number in [0, 1) after the other.
class TestRandom {
 public:
  explicit TestRandom(std::uint64_t seed) : random_(seed, Purpose::kTest) {}
  [[nodiscard]] double uniform() { return random_.uniform(0, next_++); }
  [[nodiscard]] std::uint32_t below(std::uint32_t bound) {
    return static_cast<std::uint32_t>(random_.below(bound, 0, next_++));
  }

 private:
  Random random_;
  std::uint64_t next_ = 0;
};

inline float test_value(TestRandom& random, GroupShape::Values kind) {
  if (kind == GroupShape::Values::kOnes) return 1;
  if (kind == GroupShape::Values::kBytes) return static_cast<float>(random.below(256));
  return static_cast<float>(random.uniform() * 8 - 4);
}

/// The sorted features of one row, few of them frequent and most rare, as in click logs.
inline std::vector<std::uint32_t> test_row(TestRandom& random, const GroupShape& shape) {
  const auto length = shape.same_length ? shape.row_length : random.below(shape.row_length + 1);
  std::vector<std::uint32_t> row;
  while (row.size() < std::min(length, shape.features)) {
    const auto rank = std::pow(static_cast<double>(shape.features), random.uniform());  // Zipf's law
    const auto feature = (static_cast<std::uint32_t>(rank) * 2654435761U) % shape.features;
    if (std::ranges::find(row, feature) == row.end()) row.push_back(feature);
  }
  std::ranges::sort(row);
  return row;
}

inline void fill_sparse(RowGroup& group, TestRandom& random, const GroupShape& shape) {
  std::vector<std::vector<std::uint32_t>> rows(shape.rows);
  for (auto& row : rows) {
    row = test_row(random, shape);
    group.keys.insert(group.keys.end(), row.begin(), row.end());
  }
  std::ranges::sort(group.keys);
  group.keys.erase(std::unique(group.keys.begin(), group.keys.end()), group.keys.end());
  group.row_begin = {0};
  for (const auto& row : rows) {
    for (const auto key : row) {
      const auto index = std::ranges::lower_bound(group.keys, key) - group.keys.begin();
      if (group.wide()) group.indices32.push_back(static_cast<std::uint32_t>(index));
      if (!group.wide()) group.indices16.push_back(static_cast<std::uint16_t>(index));
      if (shape.values != GroupShape::Values::kOnes) group.values.push_back(test_value(random, shape.values));
    }
    group.row_begin.push_back(group.row_begin.back() + static_cast<std::uint32_t>(row.size()));
  }
}

/// A valid group of that shape; a pure function of its arguments.
inline RowGroup test_group(const GroupShape& shape, std::uint64_t seed) {
  TestRandom random(seed);
  RowGroup group{.rows = shape.rows, .dense = shape.dense};
  if (shape.dense) {
    group.columns = shape.features;
    for (std::size_t i = 0; i < std::size_t{shape.rows} * shape.features; ++i) {
      group.matrix.push_back(test_value(random, shape.values));
    }
  } else {
    fill_sparse(group, random, shape);
  }
  for (std::uint32_t row = 0; row < shape.rows; ++row) {
    group.labels.push_back(shape.real_labels ? static_cast<float>(random.uniform())
                                             : static_cast<float>(random.below(2)));
    if (shape.weights) group.weights.push_back(static_cast<float>(random.uniform()));
  }
  return group;
}

}  // namespace virga
