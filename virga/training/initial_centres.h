#pragma once

#include <cstdint>
#include <stop_token>
#include <string_view>

#include "virga/data/group_cache.h"
#include "virga/model/model.h"

namespace virga {

/// How the first centres of clusters are chosen; all are rows of a sample.
enum class Seeding : std::uint8_t {
  kKMeansParallel,  ///< k-means|| (Bahmani et al., "Scalable k-means++", VLDB 2012)
  kRandom,          ///< rows, each as likely as any other
};
/// "k-means-parallel", "random".
[[nodiscard]] std::string_view to_string(Seeding seeding) noexcept;

struct FirstCentres {
  Tables parameters;  ///< of layout_of()
  double base_loss =
      0;  ///< of the sample's rows: mean squared distance to their mean; kGaussianMixture: gaussian_loss()
};

/// The first centres, from clamp(rows / 8, 2048, 16384) training rows, but at least 32 a cluster, drawn as for the
/// learning rate (draw_sample).
///
/// k-means||: the first candidate is a row, by weight; then in 5 rounds each row becomes one with the probability
/// 2 k w d^2 / (sum of w d^2), where d is its distance to the nearest candidate so far. Each candidate weighs as much
/// as the rows that are nearest to it; k of them are chosen by k-means++ (Arthur, Vassilvitskii 2007). If there are
/// fewer than k, k-means++ on the rows goes on. Rows that are alike may be chosen more than once when nothing else is
/// left.
///
/// kKMeans: these rows are the centres. kGaussianMixture: each component begins with mean and weight of the sample's
/// rows that are nearest to one of them, and all with the same variances, those within these heaps of rows: a heap of
/// few rows says little of its own.
///
/// A pure function of data, seed, spec and kind, in doubles; distances are computed on up to `threads` threads, each
/// row's by itself. Memory: the sample's groups, and 8 bytes x features. Requires as many training rows as clusters.
/// Throws Error(kInterrupted) when `stop` is requested, and what reading throws.
[[nodiscard]] FirstCentres first_centres(const ModelSpec& spec, Seeding seeding, std::uint64_t seed, unsigned threads,
                                         GroupCache& cache, const std::stop_token& stop);

}  // namespace virga
