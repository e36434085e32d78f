#include "virga/data/group_builder.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <utility>

#include "virga/base/error.h"

namespace virga {
namespace {

constexpr std::uint32_t kMostRanges = 1U << 20;
constexpr std::uint64_t kPlace = 0xFFFFFFFF;

}  // namespace

FeatureStatistics::FeatureStatistics(std::uint32_t features, bool max_abs)
    : features_(features),
      shift_(features <= kMostRanges ? 0U : static_cast<unsigned>(std::bit_width((features - 1) / kMostRanges))),
      counts_((std::size_t{features} >> shift_) + 1),
      max_abs_(max_abs ? features : 0) {}

void FeatureStatistics::add(std::span<const std::uint32_t> keys, std::span<const std::uint32_t> counts,
                            std::span<const float> magnitudes) {
  for (std::size_t i = 0; i < keys.size(); ++i) {
    counts_[keys[i] >> shift_].fetch_add(counts[i], std::memory_order_relaxed);
  }
  if (max_abs_.empty()) return;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto bits = std::bit_cast<std::uint32_t>(magnitudes[i]);
    auto& largest = max_abs_[keys[i]];
    auto seen = largest.load(std::memory_order_relaxed);
    while (seen < bits && !largest.compare_exchange_weak(seen, bits, std::memory_order_relaxed)) {
    }
  }
}

std::vector<std::uint32_t> FeatureStatistics::key_quantiles(std::size_t cuts) const {
  std::uint64_t total = 0;
  for (const auto& count : counts_) total += count;
  std::vector<std::uint32_t> quantiles = {0};
  std::uint64_t below = 0;  // occurrences of keys below `range`
  std::size_t range = 0;
  for (std::size_t cut = 1; cut < cuts; ++cut) {
    while (range < counts_.size() && below * (cuts - 1) < total * cut) below += counts_[range++];
    quantiles.push_back(static_cast<std::uint32_t>(std::min<std::uint64_t>(std::uint64_t{range} << shift_, features_)));
  }
  return quantiles;
}

std::vector<float> FeatureStatistics::max_abs() const {
  std::vector<float> largest(max_abs_.size());
  for (std::size_t i = 0; i < largest.size(); ++i) largest[i] = std::bit_cast<float>(max_abs_[i].load());
  return largest;
}

GroupBuilder::GroupBuilder(const GroupRules& rules) : rules_(rules) {}

RowGroup GroupBuilder::build(std::span<const RowView> rows, FeatureStatistics* statistics) {
  RowGroup group{.rows = static_cast<std::uint32_t>(rows.size()), .dense = rules_.dense};
  group.labels.reserve(rows.size());
  for (const auto& row : rows) group.labels.push_back(label_of(row.label));
  if (std::ranges::any_of(rows, [](const RowView& row) { return row.weight != 1; })) {
    for (const auto& row : rows) group.weights.push_back(row.weight);
  }
  if (rules_.dense) {
    build_dense(rows, group);
  } else {
    build_sparse(rows, group, statistics);
  }
  return group;
}

float GroupBuilder::label_of(double label) const {
  if (rules_.class_labels.empty()) return static_cast<float>(label);
  const auto found = std::ranges::lower_bound(rules_.class_labels, label);
  return static_cast<float>(found - rules_.class_labels.begin());
}

void GroupBuilder::build_dense(std::span<const RowView> rows, RowGroup& group) const {
  group.columns = rules_.features;
  group.matrix.reserve(rows.size() * rules_.features);
  for (const auto& row : rows) {
    check(row.count == rules_.features, "a dense row has a value for each feature");
    if (row.ones) {
      group.matrix.insert(group.matrix.end(), row.count, 1.0F);
    } else {
      group.matrix.insert(group.matrix.end(), row.values, row.values + row.count);
    }
  }
}

/// Sorts all entries of the group by feature; then a walk along them numbers the features and tells each entry its
/// number.
void GroupBuilder::build_sparse(std::span<const RowView> rows, RowGroup& group, FeatureStatistics* statistics) {
  collect(rows, group, !std::ranges::all_of(rows, &RowView::ones));
  sort_entries();
  find_keys(group);
  check(group.keys.empty() || group.keys.back() < rules_.features, "an id lies within the features of its set");
  if (group.wide()) {
    number(group.indices32);
  } else {
    number(group.indices16);
  }
  if (statistics != nullptr) report(*statistics, group);
}

/// Fills entries_, and the rows' lengths and (unless all are 1) values.
void GroupBuilder::collect(std::span<const RowView> rows, RowGroup& group, bool values) {
  std::size_t count = 0;
  for (const auto& row : rows) count += row.count;
  check(count <= kPlace, "a row group has fewer than 2^32 entries");
  entries_.resize(count);
  if (values) group.values.resize(count);
  group.row_begin.reserve(rows.size() + 1);
  group.row_begin.push_back(0);
  std::size_t place = 0;
  for (const auto& row : rows) {
    if (values && row.ones) std::fill_n(group.values.begin() + static_cast<std::ptrdiff_t>(place), row.count, 1.0F);
    if (values && !row.ones)
      std::copy_n(row.values, row.count, group.values.begin() + static_cast<std::ptrdiff_t>(place));
    for (std::uint32_t i = 0; i < row.count; ++i, ++place) {
      entries_[place] = (std::uint64_t{row.ids[i] - rules_.first_id} << 32) | place;
    }
    group.row_begin.push_back(static_cast<std::uint32_t>(place));
  }
}

/// Radix sort by feature, 11 bits at a time (Knuth, vol. 3, 5.2.5), as far as features have bits.
void GroupBuilder::sort_entries() {
  constexpr unsigned kBits = 11;
  constexpr std::size_t kDigits = std::size_t{1} << kBits;
  sorted_.resize(entries_.size());
  const auto width = static_cast<unsigned>(std::bit_width(rules_.features - 1));
  for (unsigned shift = 32; shift < 32 + width; shift += kBits) {
    std::array<std::uint32_t, kDigits> next{};
    for (const auto entry : entries_) ++next[(entry >> shift) % kDigits];
    std::uint32_t begin = 0;
    for (auto& count : next) begin += std::exchange(count, begin);
    for (const auto entry : entries_) sorted_[next[(entry >> shift) % kDigits]++] = entry;
    entries_.swap(sorted_);
  }
}

/// The features that occur, and where the entries of each begin. Without branches: almost every comparison is a coin
/// toss.
void GroupBuilder::find_keys(RowGroup& group) {
  const std::size_t count = entries_.size();
  group.keys.resize(count);
  begins_.resize(count + 1);
  std::size_t n = 0;
  std::uint64_t previous = ~std::uint64_t{0};
  for (std::size_t i = 0; i < count; ++i) {
    const auto feature = entries_[i] >> 32;
    n += feature != previous ? 1 : 0;
    // The last entry of a feature has the last word on the key, the first one on the beginning.
    group.keys[n - 1] = static_cast<std::uint32_t>(feature);
    begins_[n] = static_cast<std::uint32_t>(i + 1);
    previous = feature;
  }
  begins_[0] = 0;  // begins_[n] is now the end of key n - 1, and so the beginning of key n
  begins_.resize(n + 1);
  group.keys.resize(n);
  group.keys.shrink_to_fit();
}

/// indices[place] = the number of that entry's feature among the keys.
template <typename Index>
void GroupBuilder::number(Array<Index>& indices) const {
  indices.resize(entries_.size());
  for (std::size_t key = 0; key + 1 < begins_.size(); ++key) {
    for (auto i = begins_[key]; i < begins_[key + 1]; ++i) indices[entries_[i] & kPlace] = static_cast<Index>(key);
  }
}

void GroupBuilder::report(FeatureStatistics& statistics, const RowGroup& group) const {
  std::vector<std::uint32_t> counts(group.keys.size());
  for (std::size_t key = 0; key < counts.size(); ++key) counts[key] = begins_[key + 1] - begins_[key];
  std::vector<float> magnitudes(group.keys.size(), group.values.empty() ? 1.0F : 0.0F);
  for (std::size_t key = 0; key < counts.size() && !group.values.empty(); ++key) {
    for (auto i = begins_[key]; i < begins_[key + 1]; ++i) {
      magnitudes[key] = std::max(magnitudes[key], std::abs(group.values[entries_[i] & kPlace]));
    }
  }
  statistics.add(group.keys, counts, magnitudes);
}

}  // namespace virga
