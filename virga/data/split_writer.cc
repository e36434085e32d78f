#include "virga/data/split_writer.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "virga/base/error.h"
#include "virga/base/threads.h"

namespace virga {

SplitWriter::SplitWriter(ObjectStore& store, std::string prefix, const GroupRules& rules, Options options,
                         FeatureStatistics* statistics)
    : rules_(rules),
      options_(std::move(options)),
      statistics_(statistics),
      builders_(options_.threads, GroupBuilder(rules)),
      blocks_(store, std::move(prefix)) {
  split_.class_weight_sums.resize(options_.classes);
}

void SplitWriter::add(const std::vector<OrderedRows>& batch) {
  const auto kept = std::exchange(kept_, {});
  std::vector<const StoredRow*> rows;
  for (const auto& row : kept) rows.push_back(reinterpret_cast<const StoredRow*>(row.data()));
  for (const auto& bucket : batch) rows.insert(rows.end(), bucket.rows.begin(), bucket.rows.end());
  const auto whole = rows.size() - rows.size() % options_.rows_per_group;
  write(std::span(rows).first(whole));
  keep(std::span(rows).subspan(whole));
}

void SplitWriter::keep(std::span<const StoredRow* const> rows) {
  for (const auto* row : rows) {
    const auto bytes = row->bytes(rules_.dense);
    kept_.emplace_back(bytes / sizeof(std::uint64_t));
    std::memcpy(kept_.back().data(), row, bytes);
  }
}

Split SplitWriter::finish() {
  const auto kept = std::exchange(kept_, {});
  std::vector<const StoredRow*> rows;
  for (const auto& row : kept) rows.push_back(reinterpret_cast<const StoredRow*>(row.data()));
  write(rows);
  split_.label_variance = split_.weight > 0 ? label_square_ / split_.weight : 0;
  split_.blocks = blocks_.finish();
  return std::move(split_);
}

/// Groups of rows_per_group, the last one perhaps smaller.
void SplitWriter::write(std::span<const StoredRow* const> rows) {
  const std::size_t size = options_.rows_per_group;
  std::vector<Group> groups((rows.size() + size - 1) / size);
  std::atomic<std::size_t> next{0};
  run_threads(static_cast<unsigned>(std::min<std::size_t>(options_.threads, groups.size())), [&](unsigned thread) {
    for (auto i = next++; i < groups.size(); i = next++) {
      options_.check_stop();
      groups[i] = build(builders_[thread], rows.subspan(i * size, std::min(size, rows.size() - i * size)));
    }
  });
  for (const auto& group : groups) {
    blocks_.add(group.encoded, group.rows);
    merge(group);
  }
}

SplitWriter::Group SplitWriter::build(GroupBuilder& builder, std::span<const StoredRow* const> rows) const {
  std::vector<RowView> views;
  views.reserve(rows.size());
  for (const auto* row : rows) {
    views.push_back({.label = row->label,
                     .weight = row->weight,
                     .count = row->count,
                     .ids = row->ids(),
                     .values = row->values(rules_.dense),
                     .ones = row->ones != 0});
  }
  const auto group = builder.build(views, statistics_);
  Group built{.encoded = encode_group(group), .rows = group.rows, .nonzeros = group.nonzeros()};
  built.class_weights.resize(options_.classes);
  double label_sum = 0;
  for (std::size_t i = 0; i < group.rows; ++i) {
    const double weight = rows[i]->weight;
    built.weight += weight;
    label_sum += weight * static_cast<double>(group.labels[i]);
    if (options_.classes > 0) built.class_weights[static_cast<std::size_t>(group.labels[i])] += weight;
  }
  built.label_mean = built.weight > 0 ? label_sum / built.weight : 0;
  for (std::size_t i = 0; i < group.rows; ++i) {
    const double difference = static_cast<double>(group.labels[i]) - built.label_mean;
    built.label_square += static_cast<double>(rows[i]->weight) * difference * difference;
  }
  return built;
}

/// Adds up in the order of the groups, so that sums do not depend on threads: means and squares as Chan, Golub and
/// LeVeque do ("Updating formulae and a pairwise algorithm for computing sample variances", 1979).
void SplitWriter::merge(const Group& group) {
  split_.rows += group.rows;
  split_.nonzeros += group.nonzeros;
  for (std::size_t i = 0; i < group.class_weights.size(); ++i) split_.class_weight_sums[i] += group.class_weights[i];
  const double weight = split_.weight + group.weight;
  if (weight == 0) return;
  const double difference = group.label_mean - split_.label_mean;
  split_.label_mean += difference * (group.weight / weight);
  label_square_ += group.label_square + difference * difference * (split_.weight * group.weight / weight);
  split_.weight = weight;
}

}  // namespace virga
