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
  void collect(std::span<const RowView> rows, RowGroup& group, bool magnitudes);
  [[nodiscard]] std::size_t slot_of(std::uint32_t id) const noexcept;
  [[nodiscard]] std::uint32_t find_or_add(std::uint32_t id);
  void grow();
  void sort_keys();
  void report(FeatureStatistics& statistics, const RowGroup& group);
  [[nodiscard]] float label_of(double label) const;

  /// The dictionary under construction: an open-addressing hash table from feature id to order of appearance.
  struct Slot {
    std::uint32_t id;
    std::uint32_t place;
  };
  GroupRules rules_;
  std::vector<Slot> table_;  // a power of two, at most half full; empty between calls
  unsigned table_shift_;
  std::vector<std::uint64_t> keys_;         // id << 32 | place, in order of appearance, then sorted
  std::vector<std::uint64_t> sort_buffer_;  // as long
  std::vector<std::uint32_t> counts_;       // by place
  std::vector<float> magnitudes_;           // by place
  std::vector<std::uint32_t> ranks_;        // by place: index in the sorted dictionary
  std::vector<std::uint32_t> places_;       // by entry
};

}  // namespace virga
