#pragma once

#include <cstdint>
#include <string_view>

namespace virga {

/// Instruction sets that the kernels are compiled for. All give the same bits (docs/numerics.md); they differ in speed.
enum class SimdLevel : std::uint8_t { kScalar, kAvx2, kAvx512 };

/// "scalar" (plain x86-64, which has SSE2), "avx2", "avx512" (F, VL, BW, DQ).
[[nodiscard]] std::string_view to_string(SimdLevel level) noexcept;

/// Can this processor and operating system run `level`?
[[nodiscard]] bool has_simd_level(SimdLevel level) noexcept;

/// The highest level that can run here.
[[nodiscard]] SimdLevel best_simd_level() noexcept;

/// Sparse rows in compressed form: entry j of row i is (index, value), row_begin[i] <= j < row_begin[i + 1]. Exactly
/// one of indices16 and indices32 is set; `values` may be null: all are 1. The indices of a row are distinct.
struct SparseRows {
  std::uint32_t rows = 0;
  const std::uint32_t* row_begin = nullptr;  ///< [rows + 1]
  const std::uint16_t* indices16 = nullptr;
  const std::uint32_t* indices32 = nullptr;
  const float* values = nullptr;
};

/// A row-major matrix.
struct DenseRows {
  std::uint32_t rows = 0;
  std::uint32_t columns = 0;
  const float* matrix = nullptr;  ///< [rows x columns]
};

/// Centres c of clusters for dense rows. All are less `shift`, so that the scores of data far from 0 keep their digits.
struct DenseCentres {
  std::uint32_t clusters = 0;
  const float* shift = nullptr;       ///< [columns]
  const float* centres = nullptr;     ///< [columns x clusters]: c - shift
  const float* half_norms = nullptr;  ///< [clusters]: |c - shift|^2 / 2
};

/// Rows sorted by their cluster, so that a cluster's sums need not leave the registers between two of its rows.
struct RowsByCluster {
  std::uint32_t clusters = 0;
  const std::uint32_t* begin = nullptr;  ///< [clusters + 1] into rows
  const std::uint32_t* rows = nullptr;
};

/// Losses of one score z and one label y. The first three take labels {0, 1}; s = +1 for label 1, else -1.
enum class PointLoss : std::uint8_t {
  kLogistic,      ///< log(1 + e^(-s z))
  kHinge,         ///< max(0, 1 - s z)
  kSquaredHinge,  ///< max(0, 1 - s z)^2
  kSquaredError,  ///< (z - y)^2
};

/// The arithmetic of the models, for one instruction set. Floats; every sum has one order, whatever the level:
/// docs/numerics.md. Non-finite inputs give a non-finite loss and residual. All functions are pure but for their
/// outputs; pointers need no alignment and may be used by any thread. "Lanes" of the wide kernels are the classes,
/// padded to a multiple of 16.
struct Kernels {
  SimdLevel level;

  /// scores[i] = bias + sum over the row of weights[index] (* value).
  void (*sparse_forward)(const SparseRows& x, const float* weights, float bias, float* scores);
  /// gradient[index] += residuals[i] (* value), row by row.
  void (*sparse_backward)(const SparseRows& x, const float* residuals, float* gradient);
  void (*dense_forward)(const DenseRows& x, const float* weights, float bias, float* scores);
  void (*dense_backward)(const DenseRows& x, const float* residuals, float* gradient);

  /// Sum of weight times loss; residuals[i] = weight times the derivative of the loss by the score. `weights` [rows] or
  /// null (all 1); `residuals` may be `scores`.
  double (*point_loss)(PointLoss loss, std::uint32_t rows, const float* scores, const float* labels,
                       const float* weights, float* residuals);
  /// The sum of `values` over 16 lanes.
  float (*sum)(std::uint32_t count, const float* values);

  /// The same with [... x lanes] instead of one number: weights and gradient [keys or columns x lanes], bias [lanes],
  /// scores and residuals [rows x lanes].
  void (*sparse_forward_wide)(const SparseRows& x, std::uint32_t lanes, const float* weights, const float* bias,
                              float* scores);
  void (*sparse_backward_wide)(const SparseRows& x, std::uint32_t lanes, const float* residuals, float* gradient);
  void (*dense_forward_wide)(const DenseRows& x, std::uint32_t lanes, const float* weights, const float* bias,
                             float* scores);
  void (*dense_backward_wide)(const DenseRows& x, std::uint32_t lanes, const float* residuals, float* gradient);
  /// Cross-entropy of softmax over the first `classes` lanes; `labels` are class numbers below `classes`. Scores become
  /// residuals in place, 0 in the lanes that pad.
  double (*softmax_loss)(std::uint32_t rows, std::uint32_t classes, std::uint32_t lanes, const float* labels,
                         const float* weights, float* scores);
  /// sums[lane] += residuals[i x lanes + lane], row by row.
  void (*sum_wide)(std::uint32_t rows, std::uint32_t lanes, const float* residuals, float* sums);

  /// k-means, dense rows: nearest[i] = the first cluster with the highest (x - shift) (c - shift) - |c - shift|^2 / 2,
  /// summed column by column; 0 if none is a number. `scratch`: [32 x columns].
  void (*nearest_dense)(const DenseRows& x, const DenseCentres& centres, float* scratch, std::uint32_t* nearest);
  /// Adds each row to its cluster, in doubles, in the order of `by_cluster`: sums[cluster] [padded] += weight x row,
  /// and distances[cluster] [16] += weight x (row - centre)^2, column j in lane j % 16, those of 32 columns of a row
  /// added as floats, one 32 columns after the other. `padded`: columns, rounded up to a multiple of 16; `centres`
  /// [clusters x padded], 0 in what pads; `weights` [rows] or null (all 1).
  void (*cluster_sums_dense)(const DenseRows& x, const RowsByCluster& by_cluster, std::uint32_t padded,
                             const float* centres, const float* weights, double* sums, double* distances);
  /// k-means, sparse rows, in doubles: nearest[i] = the first cluster with the lowest |x|^2 - 2 x c + |c|^2, each
  /// product summed in the order of the entries, distances[i] = that, or 0 if it is below. `lanes`: clusters, rounded
  /// up to a multiple of 16; centres [keys x lanes]; norms |c|^2 [lanes], infinity in what pads.
  void (*nearest_sparse)(const SparseRows& x, std::uint32_t lanes, const double* centres, const double* norms,
                         std::uint32_t* nearest, double* distances);

  /// Gaussian components, in doubles. `panel`: [columns x 32], a lane for each of 32 dense rows; `x`: [rows x padded],
  /// up to 32 dense rows, `padded` their columns, rounded up to a multiple of 16, 0 in what pads (as in `mean`).
  ///
  /// squares[row] = sum over the columns, in order, of (x - mean)^2 x precision.
  void (*diagonal_squares)(std::uint32_t columns, const double* panel, const double* mean, const double* precisions,
                           double* squares);
  /// squares[row] = |F (x - mean)|^2, for the lower triangle F [columns (columns + 1) / 2], row by row; `scratch`:
  /// [columns x 16].
  void (*triangular_squares)(std::uint32_t columns, const double* panel, const double* mean, const double* factor,
                             double* scratch, double* squares);
  /// For each row with a share, in order: first [padded] += share (x - mean), second [padded] += share (x - mean)^2.
  void (*diagonal_moments)(std::uint32_t rows, std::uint32_t padded, const double* x, const double* mean,
                           const double* shares, double* first, double* second);
  /// The same with second [columns x padded] += share (x - mean) (x - mean)^T, its lower triangle (and what there is to
  /// the right of it in its last 16 columns); `scratch`: [2 x 32 x padded].
  void (*full_moments)(std::uint32_t rows, std::uint32_t columns, std::uint32_t padded, const double* x,
                       const double* mean, const double* shares, double* scratch, double* first, double* second);
  /// densities[row x lanes + lane] = constants[lane] + sum over the entries, in order, of value (l - q value), for the
  /// terms l, q [keys x 2 x lanes]. `lanes`: components, rounded up to a multiple of 16.
  void (*sparse_log_densities)(const SparseRows& x, std::uint32_t lanes, const double* terms, const double* constants,
                               double* densities);
};

/// The kernels of `level`, which this machine must have (a broken precondition otherwise).
[[nodiscard]] const Kernels& kernels(SimdLevel level);

}  // namespace virga
