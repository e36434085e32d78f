#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "virga/batch/row_group.h"

namespace virga {

/// A row that is to become part of a group; it looks into memory of others.
struct RowView {
  double label = 0;
  float weight = 1;
  std::uint32_t count = 0;
  const std::uint32_t* ids = nullptr;  ///< [count], ascending; not looked at in dense rows
  const float* values = nullptr;       ///< [count]; not looked at if `ones`
  bool ones = false;                   ///< all values are 1
};

/// What is known of the features of a training split: gathered from groups by several threads, the same in whatever
/// order they come.
class FeatureStatistics {
 public:
  /// `max_abs`: gather the largest magnitudes too, which takes 4 bytes a feature.
  FeatureStatistics(std::uint32_t features, bool max_abs);

  /// `counts`, `magnitudes`: how often keys[i] occurs, and its largest |value|.
  void add(std::span<const std::uint32_t> keys, std::span<const std::uint32_t> counts,
           std::span<const float> magnitudes);

  /// Manifest::key_quantiles, `cuts` numbers. Beyond 2^20 features keys are counted in ranges of a power of two, and
  /// cuts lie between ranges.
  [[nodiscard]] std::vector<std::uint32_t> key_quantiles(std::size_t cuts) const;
  /// [features]; 0 for one that never occurs. Empty unless gathered.
  [[nodiscard]] std::vector<float> max_abs() const;

 private:
  const std::uint32_t features_;
  unsigned shift_ = 0;  // a range is 2^shift_ features
  std::vector<std::atomic<std::uint64_t>> counts_;
  std::vector<std::atomic<std::uint32_t>> max_abs_;  // bits of floats >= 0, which are ordered as integers
};

/// How rows become groups.
struct GroupRules {
  bool dense = false;
  std::uint32_t features = 0;
  std::uint32_t first_id = 0;        ///< id of feature 0 in the rows (1 for one-based LIBSVM)
  std::vector<double> class_labels;  ///< ascending; a label's place is its class. Empty: labels stay as they are
};

/// Builds row groups; keeps scratch memory between calls, so one for each thread.
class GroupBuilder {
 public:
  explicit GroupBuilder(const GroupRules& rules);

  /// The group of `rows`, in their order. Requires ids within the rules' features and labels among class_labels.
  /// `statistics` (may be null) learns of its features, unless it is dense.
  [[nodiscard]] RowGroup build(std::span<const RowView> rows, FeatureStatistics* statistics = nullptr);

 private:
  void build_dense(std::span<const RowView> rows, RowGroup& group) const;
  void build_sparse(std::span<const RowView> rows, RowGroup& group, FeatureStatistics* statistics);
  void collect(std::span<const RowView> rows, RowGroup& group, bool values);
  void sort_entries();
  void find_keys(RowGroup& group);
  template <typename Index>
  void number(Array<Index>& indices) const;
  void report(FeatureStatistics& statistics, const RowGroup& group) const;
  [[nodiscard]] float label_of(double label) const;

  GroupRules rules_;
  std::vector<std::uint64_t> entries_;  // feature << 32 | place in the group's rows; first by place, then by feature
  std::vector<std::uint64_t> sorted_;   // the other half of sorting
  std::vector<std::uint32_t> begins_;   // [keys + 1] into the sorted entries
};

}  // namespace virga
