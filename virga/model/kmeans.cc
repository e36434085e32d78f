#include "virga/model/kmeans.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "virga/base/error.h"
#include "virga/base/random.h"

namespace virga {
namespace {

constexpr std::size_t kPanelRows = 32;  // of Kernels::nearest_dense

/// The final tree of a sum over 16 lanes.
double tree_of(const double* lanes) noexcept {
  const auto pair = [&](std::size_t l) { return lanes[l] + lanes[l + 8]; };
  return ((pair(0) + pair(4)) + (pair(2) + pair(6))) + ((pair(1) + pair(5)) + (pair(3) + pair(7)));
}

}  // namespace

Layout cluster_statistics(const ModelSpec& spec) {
  return {
      {.name = "sums",
       .rows = spec.features,
       .width = spec.clusters,
       .regularised = false,
       .sparse = !spec.dense,
       .doubles = true},
      {.name = "clusters", .rows = spec.clusters, .width = 2, .regularised = false, .sparse = false, .doubles = true}};
}

std::uint32_t KMeans::lanes() const noexcept { return rounded_up(spec_.clusters); }
std::uint32_t KMeans::padded() const noexcept { return rounded_up(spec_.features); }

void KMeans::set_centres(const std::vector<float>& centres) {
  check(centres.size() == std::size_t{spec_.features} * spec_.clusters, "there is a centre for each cluster");
  centres_ = centres.data();
  if (spec_.dense) return set_dense_centres(centres);
  norms_.assign(lanes(), std::numeric_limits<double>::infinity());
  std::fill_n(norms_.begin(), spec_.clusters, 0.0);
  const auto* from = centres.data();
  for (std::uint32_t f = 0; f < spec_.features; ++f, from += spec_.clusters) {
    for (std::uint32_t c = 0; c < spec_.clusters; ++c) norms_[c] += double{from[c]} * double{from[c]};
  }
}

void KMeans::set_dense_centres(const std::vector<float>& centres) {
  const auto k = spec_.clusters;
  shift_.resize(spec_.features);
  shifted_.resize(centres.size());
  by_cluster_.assign(std::size_t{k} * padded(), 0.0F);
  std::vector<double> norms(k);
  for (std::size_t f = 0; f < spec_.features; ++f) {
    double sum = 0;
    for (std::size_t c = 0; c < k; ++c) sum += double{centres[f * k + c]};
    shift_[f] = static_cast<float>(sum / k);
    for (std::size_t c = 0; c < k; ++c) {
      const float shifted = centres[f * k + c] - shift_[f];
      shifted_[f * k + c] = shifted;
      norms[c] += double{shifted} * double{shifted};
      by_cluster_[c * padded() + f] = centres[f * k + c];
    }
  }
  half_norms_.resize(k);
  for (std::size_t c = 0; c < k; ++c) half_norms_[c] = static_cast<float>(norms[c] / 2);
}

void KMeans::start() {
  if (spec_.dense) sums_.assign(std::size_t{spec_.clusters} * padded(), 0.0);
  weights_.assign(spec_.clusters, 0.0);
  distances_.assign(std::size_t{spec_.clusters} * (spec_.dense ? kSumLanes : 1), 0.0);
  examples_ = 0;
}

void KMeans::add_dense(const Rows& rows) {
  check(rows.group.dense && rows.group.columns == spec_.features, "dense rows have a column for each feature");
  const DenseRows x{.rows = rows.count(),
                    .columns = spec_.features,
                    .matrix = rows.group.matrix.data() + std::size_t{rows.first} * spec_.features};
  nearest_.resize(std::max<std::size_t>(nearest_.size(), rows.count()));
  panel_.resize(kPanelRows * spec_.features);
  kernels_.nearest_dense(x,
                         {.clusters = spec_.clusters,
                          .shift = shift_.data(),
                          .centres = shifted_.data(),
                          .half_norms = half_norms_.data()},
                         panel_.data(), nearest_.data());
  sort_by_cluster(rows.count());
  const auto* weights = weights_from(rows.group, rows.first);
  kernels_.cluster_sums_dense(x, {.clusters = spec_.clusters, .begin = begin_.data(), .rows = order_.data()}, padded(),
                              by_cluster_.data(), weights, sums_.data(), distances_.data());
  if (weights != nullptr) {
    for (std::uint32_t i = 0; i < rows.count(); ++i) weights_[nearest_[i]] += double{weights[i]};
  } else {
    for (std::uint32_t c = 0; c < spec_.clusters; ++c) weights_[c] += static_cast<double>(begin_[c + 1] - begin_[c]);
  }
  examples_ += rows.count();
}

/// A counting sort, which keeps the order of a cluster's rows.
void KMeans::sort_by_cluster(std::uint32_t rows) {
  begin_.assign(spec_.clusters + 2, 0);
  for (std::uint32_t i = 0; i < rows; ++i) ++begin_[nearest_[i] + 2];
  for (std::size_t c = 2; c < begin_.size(); ++c) begin_[c] += begin_[c - 1];
  order_.resize(std::max<std::size_t>(order_.size(), rows));
  for (std::uint32_t i = 0; i < rows; ++i) order_[begin_[nearest_[i] + 1]++] = i;
}

/// The centres' coordinates that the group has.
void KMeans::localise(const Rows& rows) {
  const auto& keys = rows.group.keys;
  const std::size_t width = lanes();
  if (local_.size() < keys.size() * width) local_.resize(keys.size() * width);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto* from = centres_ + std::size_t{keys[i]} * spec_.clusters;
    auto* to = local_.data() + i * width;
    for (std::size_t c = 0; c < spec_.clusters; ++c) to[c] = double{from[c]};
  }
}

/// `positions`: where the group's keys stand in `sums` [... x clusters]; null: nobody wants the sums.
void KMeans::add_sparse(const Rows& rows, const std::uint32_t* positions, double* sums) {
  check(!rows.group.dense, "the rows are as dense as the model");
  localise(rows);
  const auto& group = rows.group;
  nearest_.resize(std::max<std::size_t>(nearest_.size(), rows.count()));
  squares_.resize(std::max<std::size_t>(squares_.size(), rows.count()));
  kernels_.nearest_sparse(sparse_rows_of(rows), lanes(), local_.data(), norms_.data(), nearest_.data(),
                          squares_.data());
  const auto* weights = weights_from(group, rows.first);
  for (std::uint32_t i = 0; i < rows.count(); ++i) {
    const double weight = weight_of(weights, i);
    const std::size_t cluster = nearest_[i];
    weights_[cluster] += weight;
    distances_[cluster] += weight * squares_[i];
    if (positions == nullptr) continue;
    for (auto entry = group.row_begin[rows.first + i]; entry < group.row_begin[rows.first + i + 1]; ++entry) {
      const double value = group.values.empty() ? 1 : double{group.values[entry]};
      sums[std::size_t{positions[group.index(entry)]} * spec_.clusters + cluster] += weight * value;
    }
  }
  examples_ += rows.count();
}

LossSums KMeans::totals() const {
  LossSums totals;
  for (std::uint32_t c = 0; c < spec_.clusters; ++c) {
    totals.loss += spec_.dense ? tree_of(distances_.data() + std::size_t{c} * kSumLanes) : distances_[c];
    totals.weight += weights_[c];
  }
  totals.examples = examples_;
  return totals;
}

void KMeans::gradient(const MiniBatch& batch, const CompactParameters& parameters, Contribution& out) {
  check(parameters.tables.size() == 1, "parameters come in the model's tables");
  prepared_ = nullptr;
  centres_ = parameters.tables[0].data();
  if (parameters.version == 0 || parameters.version != version_) set_centres(parameters.tables[0]);
  version_ = parameters.version;
  start();
  const auto k = spec_.clusters;
  out.tables.resize(2);
  auto& sums = out.tables[0];
  sums.whole = spec_.dense;
  sums.keys.assign(batch.keys.begin(), batch.keys.end());
  sums.doubles.assign((spec_.dense ? spec_.features : batch.keys.size()) * std::size_t{k}, 0.0);
  for (const auto& slice : batch.slices) {
    const Rows rows{*slice.group, slice.first_row, slice.last_row};
    spec_.dense ? add_dense(rows) : add_sparse(rows, positions_of(slice, positions_), sums.doubles.data());
  }
  if (spec_.dense) {
    for (std::size_t f = 0; f < spec_.features; ++f) {
      for (std::size_t c = 0; c < k; ++c) sums.doubles[f * k + c] = sums_[c * padded() + f];
    }
  }
  auto& clusters = out.tables[1];
  clusters.whole = true;
  clusters.doubles.resize(std::size_t{k} * 2);
  for (std::size_t c = 0; c < k; ++c) {
    clusters.doubles[2 * c] = weights_[c];
    clusters.doubles[2 * c + 1] = spec_.dense ? tree_of(distances_.data() + c * kSumLanes) : distances_[c];
  }
  const auto all = totals();
  out.weight = all.weight;
  out.loss = all.loss;
  out.examples = all.examples;
}

void KMeans::prepare(const Tables& parameters) {
  version_ = 0;
  set_centres(parameters.values[0]);
  prepared_ = &parameters;
}

LossSums KMeans::losses(const RowGroup& group, const Tables& parameters) {
  if (prepared_ != &parameters) set_centres(parameters.values[0]);
  version_ = 0;
  if (prepared_ != &parameters) prepared_ = nullptr;
  start();
  const Rows rows{group, 0, group.rows};
  spec_.dense ? add_dense(rows) : add_sparse(rows, nullptr, nullptr);
  return totals();
}

void KMeans::scores(const RowGroup& group, const Tables& parameters, std::span<float> out) {
  check(out.size() == std::size_t{group.rows} * spec_.clusters, "there is room for one score a row and cluster");
  check(group.dense == spec_.dense, "the rows are as dense as the model");
  if (prepared_ != &parameters) set_centres(parameters.values[0]);
  version_ = 0;
  if (prepared_ != &parameters) prepared_ = nullptr;
  const std::size_t k = spec_.clusters;
  std::vector<double> squares(k);
  for (std::size_t i = 0; i < group.rows; ++i) {
    if (spec_.dense) {
      std::ranges::fill(squares, 0.0);
      const auto* row = group.matrix.data() + i * spec_.features;
      for (std::size_t f = 0; f < spec_.features; ++f) {
        for (std::size_t c = 0; c < k; ++c) {
          const double difference = double{row[f]} - double{centres_[f * k + c]};
          squares[c] += difference * difference;
        }
      }
    } else {
      double norm = 0;
      std::ranges::fill(squares, 0.0);
      for (auto entry = group.row_begin[i]; entry < group.row_begin[i + 1]; ++entry) {
        const double value = group.values.empty() ? 1 : double{group.values[entry]};
        const auto* centre = centres_ + std::size_t{group.keys[group.index(entry)]} * k;
        norm += value * value;
        for (std::size_t c = 0; c < k; ++c) squares[c] += value * double{centre[c]};
      }
      for (std::size_t c = 0; c < k; ++c) {
        const double square = (norm - (squares[c] + squares[c])) + norms_[c];
        squares[c] = square < 0 ? 0 : square;
      }
    }
    for (std::size_t c = 0; c < k; ++c) out[i * k + c] = static_cast<float>(squares[c]);
  }
}

namespace {

constexpr double kSplitDistance = 1.0 / 16;  // small: the halves are to share the rows of the cluster, not to lose them

/// What is known of a cluster that may be split.
struct ClusterSums {
  double weight = 0;
  double squares = 0;
};

/// Cluster `empty` takes half of `full`; see move_centres().
void split_cluster(const ModelSpec& spec, const Random& random, std::uint32_t epoch, std::size_t full,
                   std::size_t empty, const ClusterSums& sums, std::vector<float>& centres) {
  const auto moves = [&](std::size_t f) { return spec.dense || centres[f * spec.clusters + full] != 0; };
  std::size_t moving = 0;
  for (std::size_t f = 0; f < spec.features; ++f) moving += moves(f) ? 1 : 0;
  const double distance =
      moving == 0 ? 0 : kSplitDistance * std::sqrt(sums.squares / (sums.weight * static_cast<double>(moving)));
  move_apart(
      spec, random, epoch, full, empty, [&](std::size_t f) { return moves(f) ? distance : 0; }, centres);
}

}  // namespace

bool move_centres(const ModelSpec& spec, std::span<const std::vector<double>> statistics, std::uint64_t seed,
                  std::uint32_t epoch, std::vector<float>& centres) {
  const std::size_t k = spec.clusters;
  const auto& sums = statistics[0];
  std::vector<ClusterSums> clusters(k);
  for (std::size_t c = 0; c < k; ++c) clusters[c] = {statistics[1][2 * c], statistics[1][2 * c + 1]};
  for (std::size_t f = 0; f < spec.features; ++f) {
    for (std::size_t c = 0; c < k; ++c) {
      if (clusters[c].weight > 0) centres[f * k + c] = static_cast<float>(sums[f * k + c] / clusters[c].weight);
    }
  }
  const Random random(seed, Purpose::kInitialise);
  bool split = false;
  for (std::size_t c = 0; c < k; ++c) {
    if (clusters[c].weight > 0) continue;
    const auto full = std::ranges::max_element(clusters, {}, &ClusterSums::squares);
    if (!(full->squares > 0)) break;
    split_cluster(spec, random, epoch, static_cast<std::size_t>(full - clusters.begin()), c, *full, centres);
    *full = clusters[c] = {full->weight / 2, full->squares / 2};
    split = true;
  }
  return split;
}

}  // namespace virga
