#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "virga/batch/contribution.h"
#include "virga/batch/mini_batch.h"
#include "virga/batch/table.h"
#include "virga/math/kernels.h"

namespace virga {

/// Linear models: score = bias + w x, one for each output (softmax has one a class, all others one). The loss of an
/// example, with its score z and label y (s = +1 for label 1, else -1); and those of rows in clusters, which look at no
/// labels (virga/model/kmeans.h, virga/model/gaussian_mixture.h):
enum class ModelKind : std::uint8_t {
  kLogistic,         ///< log(1 + e^(-s z))
  kSvm,              ///< hinge: max(0, 1 - s z); its derivative at the kink is 0
  kSvmSquared,       ///< max(0, 1 - s z)^2
  kSoftmax,          ///< log(sum of e^z over the classes) - z of class y
  kLeastSquares,     ///< (z - y)^2
  kKMeans,           ///< the squared distance to the nearest of the centres
  kGaussianMixture,  ///< the negative logarithm of the density
};

/// "logistic", "svm", "svm-squared", "softmax", "least-squares", "kmeans", "gaussian-mixture".
[[nodiscard]] std::string_view to_string(ModelKind kind) noexcept;

/// Of the components of a mixture.
enum class CovarianceKind : std::uint8_t {
  kDiagonal,  ///< features are independent within a component
  kFull,      ///< dense rows only
};
/// "diagonal", "full".
[[nodiscard]] std::string_view to_string(CovarianceKind kind) noexcept;

/// Of a full covariance: it has features (features + 1) / 2 numbers, and a row takes as many multiplications.
inline constexpr std::uint32_t kMostFullFeatures = 4096;

struct ModelSpec {
  ModelKind kind = ModelKind::kLogistic;
  std::uint32_t features = 0;
  std::uint32_t classes = 2;  ///< 2 for the binary kinds; not used by kLeastSquares and clusters
  bool dense = false;         ///< the rows are dense, and so is the table of weights
  bool fit_bias = true;
  std::vector<float> class_weights = {};  ///< empty, or one for each class; multiplies the weight of an example
  std::uint32_t clusters = 0;             ///< kKMeans, kGaussianMixture (its components), else 0
  CovarianceKind covariance = CovarianceKind::kDiagonal;  ///< kGaussianMixture
  double reg_covar = 0;                                   ///< kGaussianMixture: added to variances; >= 0

  bool operator==(const ModelSpec&) const = default;
};

/// "weights" (features x outputs; read by key unless the rows are dense) and, if fitted, "bias" (1 x outputs; not
/// regularised). kKMeans: "centres" (features x clusters, always whole). kGaussianMixture, always whole: "means"
/// (features x clusters); "variances" (features x clusters), or of full covariances "cholesky" (clusters x
/// features (features + 1) / 2: the lower triangle L of each covariance L L^T, row by row); "mixing" (1 x clusters).
[[nodiscard]] Layout layout_of(const ModelSpec& spec);

/// Is it of rows in clusters, without labels? Then it is trained by expectation maximisation.
[[nodiscard]] constexpr bool has_clusters(ModelKind kind) noexcept {
  return kind == ModelKind::kKMeans || kind == ModelKind::kGaussianMixture;
}
/// Are labels looked at?
[[nodiscard]] constexpr bool has_labels(const ModelSpec& spec) noexcept { return !has_clusters(spec.kind); }

/// How many numbers Model::scores() gives for a row: one for each class of kSoftmax and each cluster of kKMeans, one
/// more than clusters of kGaussianMixture, else one.
[[nodiscard]] std::uint32_t outputs_of(const ModelSpec& spec) noexcept;

/// Sums over examples of weight times loss, and of weights (class weights included).
struct LossSums {
  double loss = 0;
  double weight = 0;
  std::uint64_t examples = 0;
};

/// A model's objective, without I/O. An object owns scratch memory for one thread: at most the dictionary of one row
/// group x outputs, twice, and the rows of one slice x outputs (outputs padded to a multiple of 16 if there are
/// several). The same inputs give the same bits, whatever the kernels (docs/numerics.md). Arithmetic never throws:
/// non-finite parameters give a non-finite loss. A label that the model has no class for is an Error(kBadData).
class Model {
 public:
  Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;
  virtual ~Model() = default;

  /// The sum (not the mean) over `batch` of the gradients of the examples' losses, times their weights, at `parameters`
  /// (compact, in the order of batch.keys). Overwrites `out`, whose buffers are used again. Of a model that is trained
  /// by expectation maximisation: the sufficient statistics of the rows, see statistics_layout().
  virtual void gradient(const MiniBatch& batch, const CompactParameters& parameters, Contribution& out) = 0;

  /// Says that scores() and losses() will be called with `parameters` (borrowed), and that these stay as they are: what
  /// follows from them is computed once. Without effect on results.
  virtual void prepare(const Tables& /*parameters*/) {}

  /// Scores of all rows of a group at full parameters; out: [rows x outputs].
  virtual void scores(const RowGroup& group, const Tables& parameters, std::span<float> out) = 0;

  /// Loss of all rows of a group at full parameters.
  [[nodiscard]] virtual LossSums losses(const RowGroup& group, const Tables& parameters) = 0;

  /// Both, in less time where one can serve the other.
  [[nodiscard]] virtual LossSums losses_and_scores(const RowGroup& group, const Tables& parameters,
                                                   std::span<float> scores_out) {
    scores(group, parameters, scores_out);
    return losses(group, parameters);
  }
};

/// Throws Error(kUsage) for class weights that do not fit.
[[nodiscard]] std::unique_ptr<Model> make_model(const ModelSpec& spec,
                                                const Kernels& kernels = virga::kernels(best_simd_level()));

}  // namespace virga
