#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "virga/batch/row_group.h"
#include "virga/training/ranking.h"

namespace virga {

// What a model is worth on rows with known labels. Every figure is weighted by the sample weights (class weights belong
// to training) and computed in double; docs/metrics.md has the definitions. For the same rows in the same order and
// groups the bits are the same, whatever the number of threads.

/// Which loss is averaged; it also says what the scores of a row are.
enum class LossKind : std::uint8_t {
  kLogistic,               ///< one score z: log(1 + e^-yz), y = -1 or 1
  kHinge,                  ///< max(0, 1 - yz)
  kSquaredHinge,           ///< max(0, 1 - yz)^2
  kSoftmax,                ///< a score for each class
  kSquaredError,           ///< one score, the prediction: (z - y)^2
  kSquaredDistance,        ///< a score for each cluster, its squared distance: the lowest; no labels
  kNegativeLogLikelihood,  ///< a score for each component, log p(component | x), and log p(x): -log p(x); no labels
};
/// Is it of rows in clusters, which have no labels?
[[nodiscard]] constexpr bool is_of_clusters(LossKind loss) noexcept {
  return loss == LossKind::kSquaredDistance || loss == LossKind::kNegativeLogLikelihood;
}
/// "log_loss", "hinge_loss", "squared_hinge_loss", "log_loss", "squared_error", "squared_distance",
/// "negative_log_likelihood".
[[nodiscard]] std::string_view to_string(LossKind loss) noexcept;

/// A row's loss, 0 ... infinity (kNegativeLogLikelihood may be below 0). `scores`: [1], for kSoftmax [classes], of
/// clusters as above, none of them NaN; `label`: 0 or 1, class number or target. Never NaN, infinite scores included.
[[nodiscard]] double row_loss(LossKind loss, std::span<const float> scores, float label) noexcept;
/// The class that is predicted: of one score, 1 if it is above 0; of several, the first of the highest.
[[nodiscard]] std::uint32_t predicted_class(std::span<const float> scores) noexcept;

/// The first of the lowest squared distances, or of the most probable components. `scores`: those of a row.
[[nodiscard]] std::uint32_t cluster_of(LossKind loss, std::span<const float> scores) noexcept;

/// Throws Error(kDiverged) if one of them is NaN.
void check_scores(std::span<const float> scores);

struct ClassMetrics {
  double support = 0;    ///< weight of the rows of this class
  double predicted = 0;  ///< weight of the rows that were taken for it
  double precision = 0;  ///< 0 when nothing was predicted
  double recall = 0;     ///< 0 when there are no such rows
  double f1 = 0;
  bool operator==(const ClassMetrics&) const = default;
};

/// Rows of class `truth` that were taken for `predicted`.
struct Confusion {
  std::uint32_t truth = 0;
  std::uint32_t predicted = 0;
  double weight = 0;
  bool operator==(const Confusion&) const = default;
};

struct ClassificationReport {
  double accuracy = 0;
  double macro_f1 = 0;                ///< mean of f1 over the classes that occur, as a label or as a prediction
  std::vector<ClassMetrics> classes;  ///< [classes]
  std::vector<double> matrix;         ///< [classes x classes] weights by label and prediction; empty above 100 classes
  std::vector<Confusion> confusions;  ///< up to 1,000 classes: the (at most 50) largest mistakes, largest first
  bool operator==(const ClassificationReport&) const = default;
};

struct RegressionReport {
  double rmse = 0;
  double mae = 0;
  double base_rmse = 0;      ///< of the mean label as the only prediction
  std::optional<double> r2;  ///< absent when all labels are equal
  bool operator==(const RegressionReport&) const = default;
};

/// The rows that are nearest to one centre, or most probably of one component.
struct ClusterMetrics {
  double weight = 0;
  double loss = 0;  ///< mean of their losses; 0 if the weight is
  bool operator==(const ClusterMetrics&) const = default;
};

/// The rows whose predicted probability of the second class lies in one tenth of [0, 1], its
/// upper end included; 0 lies in the first.
struct CalibrationBin {
  double weight = 0;
  double predicted = 0;  ///< weighted mean of the probability; 0 if the weight is
  double observed = 0;   ///< weighted share of the second class; 0 if the weight is
  bool operator==(const CalibrationBin&) const = default;
};
inline constexpr std::size_t kCalibrationBins = 10;

struct Evaluation {
  LossKind loss_kind = LossKind::kLogistic;
  std::uint64_t rows = 0;
  double weight = 0;
  double loss = 0;       ///< weighted mean
  double base_loss = 0;  ///< the lowest mean loss that one and the same score (or centre) for all rows has;
                         ///< kNegativeLogLikelihood: gaussian_loss() of the rows' variances
  std::optional<ClassificationReport> classification;  ///< all but kSquaredError and clusters
  std::optional<Ranking> ranking;                      ///< two classes
  std::vector<CalibrationBin> calibration;     ///< kLogistic, whose scores are probabilities: [kCalibrationBins]
  std::optional<RegressionReport> regression;  ///< kSquaredError
  std::vector<ClusterMetrics> clusters = {};   ///< of clusters: [clusters]
  bool operator==(const Evaluation&) const = default;
};

/// What one group of rows contributes; made on any thread.
struct MetricsPart {
  struct Outcome {
    std::uint32_t truth = 0;
    std::uint32_t predicted = 0;
    float weight = 0;
  };
  std::uint64_t rows = 0;
  double weight = 0;
  double loss = 0;                                           ///< weighted sum
  std::vector<Outcome> outcomes;                             ///< classification: [rows]
  std::vector<RankedRow> ranked;                             ///< two classes: [rows]
  std::array<CalibrationBin, kCalibrationBins> calibration;  ///< kLogistic: weighted sums
  double absolute_error = 0;                                 ///< regression: weighted sum
  double label_mean = 0;                                     ///< regression
  double label_squares = 0;                   ///< regression: weighted sum of squared distances from label_mean
  std::vector<ClusterMetrics> clusters = {};  ///< clusters: weights, and weighted sums of losses
  std::vector<std::uint32_t> features = {};   ///< clusters, sparse rows: those of `sums` and `squares`
  std::vector<double> sums = {};              ///< clusters: weighted sums of the rows' features, less the origin
  std::vector<double> squares = {};           ///< clusters: and of their squares
};

/// How rows in clusters are judged.
struct ClusterScale {
  LossKind loss = LossKind::kSquaredDistance;
  std::uint32_t clusters = 0;
  std::uint32_t features = 0;
  double reg_covar = 0;            ///< kNegativeLogLikelihood: of the base rate
  std::vector<float> origin = {};  ///< dense rows: [features], amid the rows, so that their variances keep their digits
};

/// `scores`: [rows x outputs], outputs = `classes` for kSoftmax, else 1; `labels`: [rows]; `weights`: [rows], or empty
/// for all 1. Throws Error(kDiverged) for a score that is NaN, kBadData for a label that is no class.
[[nodiscard]] MetricsPart metrics_part(LossKind loss, std::uint32_t classes, std::span<const float> scores,
                                       std::span<const float> labels, std::span<const float> weights);

/// Of clusters. `scores`: [rows x outputs]; `group`: the rows. Throws Error(kDiverged) as above.
[[nodiscard]] MetricsPart cluster_part(const ClusterScale& scale, std::span<const float> scores, const RowGroup& group);

/// Adds up the parts of all groups, one thread at a time, in the order of the groups. Memory: that of RankingCurve for
/// two classes; 8 bytes x classes^2 up to 1,000 classes.
class Metrics {
 public:
  /// `classes`: 0 for regression.
  Metrics(LossKind loss, std::uint32_t classes, std::size_t exact_rows = RankingCurve::kExactRows);
  explicit Metrics(ClusterScale scale);
  void add(const MetricsPart& part);
  /// Throws Error(kBadData) if there were no rows, or none of a weight above 0.
  [[nodiscard]] Evaluation finish();

 private:
  struct ClassSums {
    double truth = 0;
    double predicted = 0;
    double correct = 0;
  };
  void add_outcome(const MetricsPart::Outcome& outcome);
  void add_labels(const MetricsPart& part);
  void add_clusters(const MetricsPart& part);
  [[nodiscard]] std::vector<ClusterMetrics> cluster_report() const;
  [[nodiscard]] double base_of_clusters() const;
  [[nodiscard]] ClassificationReport classification() const;
  [[nodiscard]] RegressionReport regression() const;
  [[nodiscard]] double base_loss() const;

  const LossKind loss_kind_;
  const std::uint32_t classes_;
  std::uint64_t rows_ = 0;
  double weight_ = 0;
  double loss_ = 0;
  RankingCurve ranking_;
  std::vector<ClassSums> sums_;                               // [classes]
  std::vector<double> matrix_;                                // [classes x classes], or empty
  std::array<CalibrationBin, kCalibrationBins> calibration_;  // sums
  double absolute_error_ = 0;
  ClusterScale scale_;
  std::vector<ClusterMetrics> clusters_;  // [clusters] sums
  std::vector<double> feature_sums_;      // [features] of rows in clusters
  std::vector<double> feature_squares_;   // [features]
  double label_mean_ = 0;
  double label_squares_ = 0;
};

}  // namespace virga
