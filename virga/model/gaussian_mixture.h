#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "virga/model/cache_lines.h"
#include "virga/model/cluster_rows.h"
#include "virga/model/model.h"

namespace virga {

/// A mixture of Gaussians (Dempster, Laird, Rubin, "Maximum likelihood from incomplete data via the EM algorithm",
/// 1977; Bishop, "Pattern Recognition and Machine Learning", 2006, section 9.2): the density of a row x is
/// p(x) = sum over k of pi_k N(x | mu_k, Sigma_k); the objective is the sum of -log p(x), times the rows' weights.
/// Labels are not looked at.
///
/// gradient() gives the statistics of mixture_statistics() at given parameters. scores() are, for each row, the
/// logarithms of the responsibilities of all components, p(k | x), and then log p(x).
///
/// All in doubles; responsibilities by the logarithm of a sum of exponentials less the largest, so that none overflows
/// and one of them is at least 1 / clusters. Sparse rows stay sparse: log N is, but for a constant of the component
/// that the zeros have part in, a sum over the entries.
class GaussianMixture final : public Model {
 public:
  GaussianMixture(const ModelSpec& spec, const Kernels& kernels);

  void gradient(const MiniBatch& batch, const CompactParameters& parameters, Contribution& out) override;
  void prepare(const Tables& parameters) override;
  void scores(const RowGroup& group, const Tables& parameters, std::span<float> out) override;
  [[nodiscard]] LossSums losses(const RowGroup& group, const Tables& parameters) override;

 private:
  /// Where the statistics of sparse rows go: positions of the group's keys in sums [... x 2 clusters].
  struct SparseSums {
    const std::uint32_t* positions;
    double* sums;
  };

  /// log (pi N) of some rows: of each and each component at values[row x of_row + component x of_component].
  struct Densities {
    const double* values;
    std::size_t of_row;
    std::size_t of_component;
  };
  /// log p(x) = largest + log_sum.
  struct RowDensity {
    double largest;  // log (pi N)
    double log_sum;
  };

  void set_parameters(const std::vector<std::vector<float>>& tables);
  void set_variances(const std::vector<float>& means, const std::vector<float>& variances);
  void set_factors(const std::vector<float>& triangles);
  void be_prepared(const Tables& parameters);
  void start();
  void localise(const RowGroup& group);
  [[nodiscard]] Densities densities_of(const ClusterRange& rows);
  [[nodiscard]] RowDensity respond(const Densities& densities, std::uint32_t row);
  template <typename Visit>
  void for_each_panel(const ClusterRange& rows, Visit visit);
  void add(const ClusterRange& rows, bool wants_sums, const SparseSums& sparse);
  void add_panel(std::uint32_t rows);
  void add_entries(const RowGroup& group, std::uint32_t row, const SparseSums& to);
  void put_sums(Contribution& out) const;
  [[nodiscard]] bool is_full() const noexcept { return spec_.covariance == CovarianceKind::kFull; }

  const ModelSpec spec_;
  const Kernels& kernels_;
  const std::uint32_t padded_;  // features
  const std::uint32_t lanes_;   // clusters
  const std::size_t triangle_;  // numbers of a triangular matrix
  const Tables* prepared_ = nullptr;
  std::uint64_t version_ = 0;  // of the parameters that were set; 0: none that may be used again

  // What follows from the parameters.
  const std::vector<std::vector<float>>* tables_ = nullptr;  // borrowed while a member runs
  CacheLines<double> constants_;                             // [lanes]: of log (pi N); -infinity in what pads
  CacheLines<double> means_;                                 // dense: [clusters x padded]
  CacheLines<double> precisions_;                            // dense, diagonal: [clusters x padded]
  CacheLines<double> factors_;  // full: [clusters x triangle], the inverses of the Cholesky factors
  CacheLines<double> terms_;    // sparse: [local keys x 2 x lanes]

  // Of the rows so far.
  CacheLines<double> first_;   // dense: [clusters x padded]
  CacheLines<double> second_;  // dense: [clusters x padded], or full: [clusters x features x padded]
  std::vector<double> mass_;   // [clusters]
  LossSums totals_;

  // Scratch.
  CacheLines<double> rows_;               // dense: [32 x padded]
  CacheLines<double> panel_;              // dense: [features x 32]
  CacheLines<double> scratch_;            // full: [2 x 32 x padded]
  CacheLines<double> densities_;          // dense: [clusters x 32]; sparse: [rows x lanes]
  CacheLines<double> shares_;             // dense: [clusters x 32]; sparse: [clusters]
  std::vector<double> responsibilities_;  // [clusters]
  std::vector<std::uint32_t> positions_;  // sparse: [local keys]
};

/// The parameters of layout_of().
[[nodiscard]] Layout mixture_parameters(const ModelSpec& spec);

/// What is summed over all rows, in doubles, r being responsibility times weight: diagonal "moments" (features x
/// 2 clusters: sums of r d for each component, then of r d^2; sparse unless the rows are dense); full "first" (features
/// x clusters: sums of r d) and "second" (clusters x features (features + 1) / 2: the lower triangle of the sum of
/// r d d^T, row by row); and "components" (clusters x 1: sum of r). d is x less the component's mean, so that nothing
/// cancels far from 0; of sparse rows, x itself.
[[nodiscard]] Layout mixture_statistics(const ModelSpec& spec);

/// The step of maximisation: mixing coefficients, means and covariances become those of the components' shares of the
/// rows (Bishop, equations 9.24 to 9.26), with spec.reg_covar added to the variances. A covariance is taken about the
/// mean as it is after rounding to floats. `statistics` are of mixture_statistics(), `parameters` those that they
/// belong to; overwritten.
///
/// A component that has lost its share of the rows (no more than 1e-12 of all) takes half of the heaviest one: with the
/// same covariance both go apart from its mean, by one standard deviation, in a random direction of +1 and -1 for each
/// feature, as it is with k-means. A pure function of its arguments. Returns whether a component was split.
///
/// Throws Error(kDiverged), naming the component and the feature, for a covariance that has no inverse: rows of a
/// component that all agree, where reg_covar is 0 or too small for a float; or that is not finite.
[[nodiscard]] bool move_components(const ModelSpec& spec, std::span<const std::vector<double>> statistics,
                                   std::uint64_t seed, std::uint32_t epoch, Tables& parameters);

/// The lower triangle L of a = L L^T, in place (Golub, Van Loan, "Matrix Computations", algorithm 4.2.1, by rows);
/// a: [size (size + 1) / 2] lower triangle, row by row. Returns the first row whose pivot is not above 0, or `size`.
[[nodiscard]] std::size_t cholesky(std::size_t size, std::span<double> a) noexcept;

/// The mean of -log N over rows of the given variances, under one Gaussian of their mean and these variances (reg_covar
/// added), whose features are independent: the base rate of a mixture.
[[nodiscard]] double gaussian_loss(std::span<const double> variances, double reg_covar) noexcept;

}  // namespace virga
