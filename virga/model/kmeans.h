#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "virga/model/cache_lines.h"
#include "virga/model/cluster_rows.h"
#include "virga/model/model.h"

namespace virga {

/// k-means (Lloyd, "Least squares quantization in PCM", 1957/1982): the objective is the sum of the rows' squared
/// distances to the nearest centre, times their weights. Labels are not looked at.
///
/// gradient() gives the statistics of cluster_statistics() at given centres, and as loss the sum of the squared
/// distances, as weight that of the rows. scores() are squared distances to all centres, losses() those to the nearest.
///
/// Sparse rows stay sparse: their distances are |x|^2 - 2 x c + |c|^2 in doubles, so that of the digits that cancel 29
/// more are there than a float has. Dense rows are compared in floats after the mean of the centres has been taken from
/// both; distances of the centre that was chosen are sums of (x - c)^2, where nothing cancels: those of a row in
/// floats, of rows in doubles.
class KMeans final : public Model {
 public:
  KMeans(const ModelSpec& spec, const Kernels& kernels) : spec_(spec), kernels_(kernels) {}

  void gradient(const MiniBatch& batch, const CompactParameters& parameters, Contribution& out) override;
  void prepare(const Tables& parameters) override;
  void scores(const RowGroup& group, const Tables& parameters, std::span<float> out) override;
  [[nodiscard]] LossSums losses(const RowGroup& group, const Tables& parameters) override;

 private:
  using Rows = ClusterRange;

  void set_centres(const std::vector<float>& centres);
  void set_dense_centres(const std::vector<float>& centres);
  void start();
  void add_dense(const Rows& rows);
  void sort_by_cluster(std::uint32_t rows);
  void add_sparse(const Rows& rows, const std::uint32_t* positions, double* sums);
  void localise(const Rows& rows);
  [[nodiscard]] LossSums totals() const;
  [[nodiscard]] std::uint32_t lanes() const noexcept;
  [[nodiscard]] std::uint32_t padded() const noexcept;

  const ModelSpec spec_;
  const Kernels& kernels_;
  const Tables* prepared_ = nullptr;
  std::uint64_t version_ = 0;  // of the centres that were set; 0: none that may be used again

  // What follows from the centres.
  const float* centres_ = nullptr;  // [features x clusters], borrowed while a member runs
  CacheLines<double> norms_;        // sparse: [lanes]
  std::vector<float> shift_;        // dense: [features], the mean of the centres
  std::vector<float> shifted_;      // dense: [features x clusters]
  std::vector<float> half_norms_;   // dense: [clusters]
  CacheLines<float> by_cluster_;    // dense: [clusters x padded]
  CacheLines<double> local_;        // sparse: [local keys x lanes]

  // Of the rows so far.
  CacheLines<double> sums_;       // dense: [clusters x padded]
  std::vector<double> weights_;   // [clusters]
  CacheLines<double> distances_;  // dense: [clusters x 16]; sparse: [clusters]
  std::uint64_t examples_ = 0;

  // Scratch.
  CacheLines<float> panel_;
  std::vector<std::uint32_t> nearest_;    // [rows]
  std::vector<std::uint32_t> begin_;      // dense: [clusters + 2], of each cluster's rows in order_
  std::vector<std::uint32_t> order_;      // dense: [rows]
  std::vector<double> squares_;           // sparse: [rows]
  std::vector<std::uint32_t> positions_;  // sparse: [local keys]
};

/// What is summed over all rows, in doubles: "sums" (features x clusters: of the rows of each cluster, times their
/// weights; sparse unless the rows are dense) and "clusters" (clusters x 2: weight, and sum of the squared distances).
[[nodiscard]] Layout cluster_statistics(const ModelSpec& spec);

/// The step of maximisation: each centre becomes the mean of its cluster's rows. `statistics`: all of each table of
/// cluster_statistics(); `centres`: [features x clusters], those that the statistics belong to; overwritten.
///
/// A cluster without weight takes half of the one with the largest sum of squared distances (the first of equal ones):
/// both go apart from its mean, a sixteenth of the root mean square distance of its rows in a random direction of +1
/// and -1 for each feature (of sparse rows: that the cluster has), as Linde, Buzo and Gray split code words ("An
/// algorithm for vector quantizer design", 1980). If no cluster has a distance above 0 it stays where it is. Several do
/// so one after the other; of the split cluster's distances each half is taken to have a half. A pure function of its
/// arguments. Returns whether a cluster was split.
[[nodiscard]] bool move_centres(const ModelSpec& spec, std::span<const std::vector<double>> statistics,
                                std::uint64_t seed, std::uint32_t epoch, std::vector<float>& centres);

}  // namespace virga
