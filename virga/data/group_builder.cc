#include "virga/data/group_builder.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "virga/base/error.h"

namespace virga {
namespace {

constexpr std::uint32_t kNoId = 0xFFFFFFFF;
constexpr std::uint32_t kMostRanges = 1U << 20;
constexpr unsigned kFirstTableBits = 12;

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

GroupBuilder::GroupBuilder(const GroupRules& rules)
    : rules_(rules), table_(std::size_t{1} << kFirstTableBits, Slot{kNoId, 0}), table_shift_(32 - kFirstTableBits) {}

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

/// First numbers the features by appearance, then sorts the few that are different and renumbers the entries: cheaper
/// than sorting all entries.
void GroupBuilder::build_sparse(std::span<const RowView> rows, RowGroup& group, FeatureStatistics* statistics) {
  const bool ones = std::ranges::all_of(rows, &RowView::ones);
  collect(rows, group, !ones);
  sort_keys();
  group.keys.resize(keys_.size());
  ranks_.resize(keys_.size());
  for (std::uint32_t i = 0; i < keys_.size(); ++i) {
    group.keys[i] = static_cast<std::uint32_t>(keys_[i] >> 32);
    ranks_[static_cast<std::uint32_t>(keys_[i])] = i;
  }
  if (group.wide()) {
    group.indices32.resize(places_.size());
    for (std::size_t i = 0; i < places_.size(); ++i) group.indices32[i] = ranks_[places_[i]];
  } else {
    group.indices16.resize(places_.size());
    for (std::size_t i = 0; i < places_.size(); ++i) {
      group.indices16[i] = static_cast<std::uint16_t>(ranks_[places_[i]]);
    }
  }
  if (statistics != nullptr) report(*statistics, group);
}

/// Fills places_, counts_, magnitudes_ and keys_, and the rows' lengths and values.
void GroupBuilder::collect(std::span<const RowView> rows, RowGroup& group, bool magnitudes) {
  keys_.clear();
  counts_.clear();
  magnitudes_.clear();
  std::size_t entries = 0;
  for (const auto& row : rows) entries += row.count;
  check(entries <= 0xFFFFFFFFU, "a row group has fewer than 2^32 entries");
  places_.resize(entries);
  if (magnitudes) group.values.reserve(entries);
  group.row_begin.reserve(rows.size() + 1);
  group.row_begin.push_back(0);
  std::size_t entry = 0;
  for (const auto& row : rows) {
    for (std::uint32_t i = 0; i < row.count; ++i) {
      const auto place = find_or_add(row.ids[i] - rules_.first_id);
      places_[entry++] = place;
      ++counts_[place];
      if (!magnitudes) continue;
      const float value = row.ones ? 1 : row.values[i];
      group.values.push_back(value);
      magnitudes_[place] = std::max(magnitudes_[place], std::abs(value));
    }
    group.row_begin.push_back(static_cast<std::uint32_t>(entry));
  }
  std::ranges::fill(table_, Slot{kNoId, 0});
}

/// Where `id` stands in the table, or the free slot where it would.
std::size_t GroupBuilder::slot_of(std::uint32_t id) const noexcept {
  constexpr std::uint32_t kGolden = 2654435769U;  // 2^32 / the golden ratio (Knuth, vol. 3, 6.4)
  const auto mask = table_.size() - 1;
  auto slot = std::size_t{(id * kGolden) >> table_shift_};
  while (table_[slot].id != id && table_[slot].id != kNoId) slot = (slot + 1) & mask;
  return slot;
}

std::uint32_t GroupBuilder::find_or_add(std::uint32_t id) {
  const auto slot = slot_of(id);
  if (table_[slot].id == id) return table_[slot].place;
  check(id < rules_.features, "an id lies within the features of its set");
  const auto place = static_cast<std::uint32_t>(keys_.size());
  table_[slot] = {id, place};
  keys_.push_back((std::uint64_t{id} << 32) | place);
  counts_.push_back(0);
  magnitudes_.push_back(0);
  if (keys_.size() * 2 > table_.size()) grow();
  return place;
}

void GroupBuilder::grow() {
  table_.assign(table_.size() * 2, Slot{kNoId, 0});
  --table_shift_;
  for (const auto key : keys_) {
    const auto id = static_cast<std::uint32_t>(key >> 32);
    table_[slot_of(id)] = {id, static_cast<std::uint32_t>(key)};
  }
}

/// Radix sort by id, a byte at a time, as far as ids have bytes.
void GroupBuilder::sort_keys() {
  sort_buffer_.resize(keys_.size());
  for (unsigned shift = 32; shift < 64 && ((std::uint64_t{rules_.features} << 32) >> shift) != 0; shift += 8) {
    std::array<std::size_t, 257> begin{};
    for (const auto key : keys_) ++begin[((key >> shift) & 0xFF) + 1];
    for (std::size_t i = 0; i < 256; ++i) begin[i + 1] += begin[i];
    for (const auto key : keys_) sort_buffer_[begin[(key >> shift) & 0xFF]++] = key;
    keys_.swap(sort_buffer_);
  }
}

void GroupBuilder::report(FeatureStatistics& statistics, const RowGroup& group) {
  std::vector<std::uint32_t> counts(keys_.size());
  std::vector<float> magnitudes(keys_.size());
  for (std::size_t i = 0; i < keys_.size(); ++i) {
    const auto place = static_cast<std::uint32_t>(keys_[i]);
    counts[i] = counts_[place];
    magnitudes[i] = group.values.empty() ? 1 : magnitudes_[place];
  }
  statistics.add(group.keys, counts, magnitudes);
}

}  // namespace virga
