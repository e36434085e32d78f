#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "virga/data/block.h"
#include "virga/data/group_builder.h"
#include "virga/data/manifest.h"
#include "virga/data/row_buckets.h"

namespace virga {

/// The second phase of an import: rows in their final order become groups, groups are encoded by all threads, blocks
/// written in order. For one calling thread.
class SplitWriter {
 public:
  struct Options {
    std::uint32_t rows_per_group = 1000;
    std::uint32_t classes = 0;  ///< 0: regression
    unsigned threads = 1;
    /// Called by the working threads before each group; may throw, which ends the import.
    std::function<void()> check_stop;
  };

  /// `store` and `statistics` (may be null) are borrowed; blocks get names that begin with `prefix`.
  SplitWriter(ObjectStore& store, std::string prefix, const GroupRules& rules, Options options,
              FeatureStatistics* statistics);

  /// Appends rows in order (RowBuckets::drain). Throws what ObjectStore::put throws.
  void add(const std::vector<OrderedRows>& batch);
  /// Writes what is left and returns the split.
  [[nodiscard]] Split finish();

 private:
  struct Group {
    Bytes encoded;
    std::uint32_t rows = 0;
    std::uint64_t nonzeros = 0;
    double weight = 0;
    std::vector<double> class_weights;  // [classes]
    double label_mean = 0;
    double label_square = 0;  // weighted sum of (label - mean)^2
  };

  void write(std::span<const StoredRow* const> rows);
  [[nodiscard]] Group build(GroupBuilder& builder, std::span<const StoredRow* const> rows) const;
  void merge(const Group& group);
  void keep(std::span<const StoredRow* const> rows);

  const GroupRules rules_;
  const Options options_;
  FeatureStatistics* const statistics_;
  std::vector<GroupBuilder> builders_;  // one for each thread
  BlockWriter blocks_;
  Split split_;
  double label_square_ = 0;
  std::vector<std::vector<std::uint64_t>> kept_;  // copies of rows that do not fill a group yet
};

}  // namespace virga
