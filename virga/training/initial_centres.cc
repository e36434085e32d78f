#include "virga/training/initial_centres.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "virga/base/error.h"
#include "virga/base/random.h"
#include "virga/base/threads.h"
#include "virga/model/gaussian_mixture.h"
#include "virga/training/sample.h"

namespace virga {
namespace {

constexpr std::uint32_t kRounds = 5;            // of k-means||
constexpr double kOversampling = 2;             // candidates a round, for each cluster
constexpr std::uint64_t kRowsOfCluster = 32;    // of the sample, at least
constexpr std::uint32_t kFirst = 0, kPlus = 1;  // streams of random numbers, beside one for each round

/// The rows of the sample, by number.
class SampleRows {
 public:
  SampleRows(std::vector<RowRange> ranges, std::uint32_t features, unsigned threads)
      : ranges_(std::move(ranges)), features_(features), threads_(threads) {
    for (const auto& range : ranges_) {
      begin_.push_back(size_);
      size_ += range.last_row - range.first_row;
    }
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool is_dense() const noexcept { return !ranges_.empty() && ranges_.front().group->dense; }

  /// Calls visit(feature, value) for each entry of a row.
  template <typename Visit>
  void entries(std::size_t row, Visit visit) const {
    const auto range = static_cast<std::size_t>(std::ranges::upper_bound(begin_, row) - begin_.begin()) - 1;
    const auto& group = *ranges_[range].group;
    entries_of(group, ranges_[range].first_row + row - begin_[range], visit);
  }
  [[nodiscard]] std::vector<double> weights() const {
    std::vector<double> all;
    all.reserve(size_);
    for (const auto& [group, first, last] : ranges_) {
      for (auto i = first; i < last; ++i) all.push_back(group->weights.empty() ? 1 : double{group->weights[i]});
    }
    return all;
  }

  /// out[row] = squared distance to `point` [features].
  void squares(std::span<const double> point, std::span<double> out) const {
    double norm = 0;
    for (const auto x : point) norm += x * x;
    parallel_for(threads_, ranges_.size(), [&](std::size_t r) {
      const auto& [group, first, last] = ranges_[r];
      for (auto i = first; i < last; ++i) {
        double sum = 0, own = 0, product = 0;
        if (group->dense) {
          entries_of(*group, i, [&](std::size_t f, double x) { sum += (x - point[f]) * (x - point[f]); });
        } else {
          entries_of(*group, i, [&](std::size_t f, double x) {
            own += x * x;
            product += x * point[f];
          });
          sum = std::max(0.0, own - 2 * product + norm);
        }
        out[begin_[r] + (i - first)] = sum;
      }
    });
  }

  /// The same to a row; `scratch` is all 0 between calls.
  void squares_to(std::size_t row, std::vector<double>& scratch, std::span<double> out) const {
    scratch.resize(features_);
    entries(row, [&](std::size_t f, double x) { scratch[f] = x; });
    squares(scratch, out);
    entries(row, [&](std::size_t f, double) { scratch[f] = 0; });
  }

 private:
  template <typename Visit>
  static void entries_of(const RowGroup& group, std::size_t row, Visit visit) {
    if (group.dense) {
      const auto* x = group.matrix.data() + row * group.columns;
      for (std::size_t f = 0; f < group.columns; ++f) visit(f, double{x[f]});
      return;
    }
    for (auto e = group.row_begin[row]; e < group.row_begin[row + 1]; ++e) {
      visit(std::size_t{group.keys[group.index(e)]}, group.values.empty() ? 1 : double{group.values[e]});
    }
  }

  const std::vector<RowRange> ranges_;
  const std::uint32_t features_;
  const unsigned threads_;
  std::vector<std::size_t> begin_;  // [ranges]
  std::size_t size_ = 0;
};

/// Chooses rows, and knows the distance of every row to the nearest of them.
class Chooser {
 public:
  Chooser(const SampleRows& rows, const std::stop_token& stop)
      : rows_(rows),
        stop_(stop),
        weights_(rows.weights()),
        nearest_(rows.size()),
        squares_(rows.size(), std::numeric_limits<double>::infinity()),
        now_(rows.size()) {}

  void choose(std::size_t row) {
    if (stop_.stop_requested()) throw Error(ErrorKind::kInterrupted, "stopped while the first centres were chosen");
    rows_.squares_to(row, scratch_, now_);
    for (std::size_t i = 0; i < now_.size(); ++i) {
      if (now_[i] >= squares_[i]) continue;
      squares_[i] = now_[i];
      nearest_[i] = chosen_.size();
    }
    chosen_.push_back(row);
  }

  /// k-means++ until there are `count`: each row by the probability w d^2; once that is 0 for all, by w.
  void choose_far(std::size_t count, const Random& random) {
    while (chosen_.size() < count) choose(draw(cost(), random.uniform(kPlus, chosen_.size())));
  }

  [[nodiscard]] const std::vector<std::size_t>& chosen() const noexcept { return chosen_; }
  [[nodiscard]] const std::vector<double>& weights() const noexcept { return weights_; }
  /// Of all rows nearest to each that was chosen.
  [[nodiscard]] std::vector<double> weights_of_chosen() const {
    std::vector<double> sums(chosen_.size());
    for (std::size_t i = 0; i < nearest_.size(); ++i) sums[nearest_[i]] += weights_[i];
    return sums;
  }
  /// w d^2 of every row.
  [[nodiscard]] std::vector<double> cost() const {
    auto cost = weights_;
    if (chosen_.empty()) return cost;
    for (std::size_t i = 0; i < cost.size(); ++i) cost[i] *= squares_[i];
    return std::ranges::any_of(cost, [](double c) { return c > 0; }) ? cost : weights_;
  }
  [[nodiscard]] bool all_chosen() const {
    return std::ranges::all_of(squares_, [](double square) { return square == 0; });
  }

  /// The index that `uniform` in [0, 1) falls on, by the weights.
  [[nodiscard]] static std::size_t draw(const std::vector<double>& weights, double uniform) {
    double total = 0;
    for (const auto weight : weights) total += weight;
    double left = uniform * total;
    std::size_t last = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if (!(weights[i] > 0)) continue;
      last = i;
      if (left < weights[i]) return i;
      left -= weights[i];
    }
    return last;
  }

 private:
  const SampleRows& rows_;
  const std::stop_token& stop_;
  const std::vector<double> weights_;  // [rows]
  std::vector<std::size_t> chosen_;
  std::vector<std::size_t> nearest_;  // [rows] index in chosen_
  std::vector<double> squares_;       // [rows]
  std::vector<double> now_;           // [rows]
  std::vector<double> scratch_;
};

/// k-means||: more candidates than are wanted, then k of them by k-means++, where each stands for its rows.
std::vector<std::size_t> choose_in_parallel(const SampleRows& rows, std::size_t k, const Random& random,
                                            const std::stop_token& stop) {
  Chooser candidates(rows, stop);
  candidates.choose(Chooser::draw(candidates.weights(), random.uniform(kFirst, 0)));
  for (std::uint32_t round = 0; round < kRounds && !candidates.all_chosen(); ++round) {
    const auto cost = candidates.cost();
    double total = 0;
    for (const auto c : cost) total += c;
    for (std::size_t i = 0; i < cost.size(); ++i) {
      const double probability = kOversampling * static_cast<double>(k) * cost[i] / total;
      if (random.uniform(kPlus + 1 + round, i) < probability) candidates.choose(i);
    }
  }
  if (candidates.chosen().size() <= k) {
    candidates.choose_far(k, random);
    return candidates.chosen();
  }
  // k-means++ on the candidates, each as heavy as its rows.
  const auto& from = candidates.chosen();
  const auto weights = candidates.weights_of_chosen();
  std::vector<double> squares(from.size(), std::numeric_limits<double>::infinity()), now(rows.size()), scratch;
  std::vector<std::size_t> chosen;
  while (chosen.size() < k) {
    if (stop.stop_requested()) throw Error(ErrorKind::kInterrupted, "stopped while the first centres were chosen");
    auto cost = weights;
    if (!chosen.empty()) {
      for (std::size_t i = 0; i < cost.size(); ++i) cost[i] *= squares[i];
    }
    const auto next = Chooser::draw(cost, random.uniform(kPlus, chosen.size()));
    rows.squares_to(from[next], scratch, now);
    for (std::size_t i = 0; i < from.size(); ++i) squares[i] = std::min(squares[i], now[from[i]]);
    chosen.push_back(from[next]);
  }
  return chosen;
}

/// Of rows in heaps: each feature's variance about the mean of the row's own heap, for all heaps together.
struct HeapMoments {
  std::vector<double> weights;             // [heaps]
  std::vector<std::vector<double>> means;  // [heaps][features]; without rows: all 0
  std::vector<double> variance;            // [features]
};

/// heap_of[row] < `heaps`.
HeapMoments moments_of(const SampleRows& rows, std::uint32_t features, std::size_t heaps,
                       const std::vector<std::size_t>& heap_of) {
  const auto weights = rows.weights();
  HeapMoments moments{.weights = std::vector<double>(heaps),
                      .means = std::vector(heaps, std::vector<double>(features)),
                      .variance = std::vector<double>(features)};
  double total = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    auto& mean = moments.means[heap_of[i]];
    rows.entries(i, [&](std::size_t f, double x) { mean[f] += weights[i] * x; });
    moments.weights[heap_of[i]] += weights[i];
    total += weights[i];
  }
  if (!(total > 0)) return moments;
  for (std::size_t h = 0; h < heaps; ++h) {
    if (!(moments.weights[h] > 0)) continue;
    for (auto& x : moments.means[h]) x /= moments.weights[h];
  }
  // Entries that are there, against those that are not: of dense rows none.
  std::vector<double> there(rows.is_dense() ? 0 : heaps * features);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto& mean = moments.means[heap_of[i]];
    rows.entries(i, [&](std::size_t f, double x) {
      moments.variance[f] += weights[i] * (x - mean[f]) * (x - mean[f]);
      if (!there.empty()) there[heap_of[i] * features + f] += weights[i];
    });
  }
  if (!there.empty()) {
    for (std::size_t h = 0; h < heaps; ++h) {
      for (std::size_t f = 0; f < features; ++f) {
        const double mean = moments.means[h][f];
        moments.variance[f] += std::max(0.0, moments.weights[h] - there[h * features + f]) * mean * mean;
      }
    }
  }
  for (auto& x : moments.variance) x /= total;
  return moments;
}

/// Which of the rows `centres` each row is nearest to; of equal ones the first.
std::vector<std::size_t> nearest_of(const SampleRows& rows, const std::vector<std::size_t>& centres) {
  std::vector<std::size_t> nearest(rows.size());
  std::vector<double> squares(rows.size(), std::numeric_limits<double>::infinity()), now(rows.size()), scratch;
  for (std::size_t c = 0; c < centres.size(); ++c) {
    rows.squares_to(centres[c], scratch, now);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (now[i] >= squares[i]) continue;
      squares[i] = now[i];
      nearest[i] = c;
    }
  }
  return nearest;
}

/// The chosen rows are the centres.
FirstCentres first_of_kmeans(const ModelSpec& spec, const SampleRows& rows, const std::vector<std::size_t>& chosen) {
  FirstCentres first{.parameters = Tables(layout_of(spec))};
  auto& centres = first.parameters.values[0];
  for (std::size_t c = 0; c < spec.clusters; ++c) {
    rows.entries(chosen[c], [&](std::size_t f, double x) { centres[f * spec.clusters + c] = static_cast<float>(x); });
  }
  const auto all = moments_of(rows, spec.features, 1, std::vector<std::size_t>(rows.size()));
  for (const auto variance : all.variance) first.base_loss += variance;
  return first;
}

/// Each component begins with the mean and the weight of the rows that are nearest to its chosen row, and all with the
/// variances within such heaps.
FirstCentres first_of_mixture(const ModelSpec& spec, const SampleRows& rows, const std::vector<std::size_t>& chosen) {
  FirstCentres first{.parameters = Tables(layout_of(spec))};
  const std::size_t k = spec.clusters, features = spec.features;
  const auto heaps = moments_of(rows, spec.features, k, nearest_of(rows, chosen));
  double total = 0;
  for (const auto weight : heaps.weights) total += weight;
  auto& means = first.parameters.values[0];
  auto& covariances = first.parameters.values[1];
  auto& mixing = first.parameters.values[2];
  for (std::size_t c = 0; c < k; ++c) {
    if (heaps.weights[c] > 0) {
      for (std::size_t f = 0; f < features; ++f) means[f * k + c] = static_cast<float>(heaps.means[c][f]);
    } else {
      rows.entries(chosen[c], [&](std::size_t f, double x) { means[f * k + c] = static_cast<float>(x); });
    }
    mixing[c] = static_cast<float>(total > 0 ? heaps.weights[c] / total : 1.0 / static_cast<double>(k));
    for (std::size_t f = 0; f < features; ++f) {
      const double variance = std::max(heaps.variance[f] + spec.reg_covar, double{std::numeric_limits<float>::min()});
      if (spec.covariance == CovarianceKind::kFull) {
        covariances[(c * (features + 1) * features + (f + 1) * (f + 2)) / 2 - 1] =
            static_cast<float>(std::sqrt(variance));
      } else {
        covariances[f * k + c] = static_cast<float>(variance);
      }
    }
  }
  const auto all = moments_of(rows, spec.features, 1, std::vector<std::size_t>(rows.size()));
  first.base_loss = gaussian_loss(all.variance, spec.reg_covar);
  return first;
}

}  // namespace

std::string_view to_string(Seeding seeding) noexcept {
  switch (seeding) {
    case Seeding::kKMeansParallel:
      return "k-means-parallel";
    case Seeding::kRandom:
      return "random";
  }
  return "";
}

FirstCentres first_centres(const ModelSpec& spec, Seeding seeding, std::uint64_t seed, unsigned threads,
                           GroupCache& cache, const std::stop_token& stop) {
  const auto train = cache.manifest().train.rows;
  const std::size_t k = spec.clusters;
  check(k >= 1 && k <= train, "there are as many training rows as clusters");
  const auto wanted = std::max(std::clamp<std::uint64_t>(train / 8, 2048, 16384), kRowsOfCluster * k);
  const SampleRows rows(draw_sample(cache, seed, wanted), spec.features, threads);
  const Random random(seed, Purpose::kInitialise);
  std::vector<std::size_t> chosen;
  if (seeding == Seeding::kRandom) {
    const auto order = permutation(static_cast<std::uint32_t>(rows.size()), random, 0);
    chosen.assign(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(k));
  } else {
    chosen = choose_in_parallel(rows, k, random, stop);
  }
  return spec.kind == ModelKind::kKMeans ? first_of_kmeans(spec, rows, chosen) : first_of_mixture(spec, rows, chosen);
}

}  // namespace virga
