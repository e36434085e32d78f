#include "virga/training/metrics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/math/elementary.h"
#include "virga/model/gaussian_mixture.h"

namespace virga {
namespace {

constexpr std::uint32_t kMostMatrixClasses = 100;      // printed
constexpr std::uint32_t kMostConfusionClasses = 1000;  // counted
constexpr std::size_t kMostConfusions = 50;

double squared(double x) noexcept { return x * x; }
double ratio(double part, double whole) noexcept { return whole > 0 ? part / whole : 0; }
double signed_label(float label) noexcept { return label > 0.5F ? 1 : -1; }

/// log(sum of e^z) - z[label], shifted by the largest z so that nothing overflows.
double softmax_loss(std::span<const float> scores, std::size_t label) noexcept {
  const double largest = static_cast<double>(*std::ranges::max_element(scores));
  // Infinite scores: equal ones differ by 0, not by infinity - infinity.
  const auto below_largest = [&](float score) {
    return static_cast<double>(score) == largest ? 0 : static_cast<double>(score) - largest;
  };
  double sum = 0;
  for (const auto score : scores) sum += math::exp(below_largest(score));
  return math::log(sum) - below_largest(scores[label]);
}

std::uint32_t class_of(float label, std::uint32_t classes) {
  if (!(label >= 0 && label < static_cast<float>(classes)) || label != std::floor(label)) {
    throw Error(ErrorKind::kBadData, fmt::format("the label {} is none of the {} classes", label, classes));
  }
  return static_cast<std::uint32_t>(label);
}

/// A bin holds its upper end, as scikit-learn's do: half of them belong to each predicted class.
std::size_t calibration_bin(double p) noexcept {
  return static_cast<std::size_t>(std::max(0.0, std::ceil(p * kCalibrationBins) - 1));
}

/// -p log p, 0 for p = 0.
double surprise(double p) noexcept { return p > 0 ? -p * math::log(p) : 0; }

}  // namespace

std::string_view to_string(LossKind loss) noexcept {
  constexpr std::array<std::string_view, 7> kNames = {
      "log_loss",      "hinge_loss",       "squared_hinge_loss",     "log_loss",
      "squared_error", "squared_distance", "negative_log_likelihood"};
  return kNames[static_cast<std::size_t>(loss)];
}

double row_loss(LossKind loss, std::span<const float> scores, float label) noexcept {
  const auto score = static_cast<double>(scores.front());
  switch (loss) {
    case LossKind::kLogistic:
      return math::softplus(-signed_label(label) * score);
    case LossKind::kHinge:
      return std::max(0.0, 1 - signed_label(label) * score);
    case LossKind::kSquaredHinge:
      return squared(std::max(0.0, 1 - signed_label(label) * score));
    case LossKind::kSoftmax:
      return softmax_loss(scores, static_cast<std::size_t>(label));
    case LossKind::kSquaredError:
      return squared(score - static_cast<double>(label));
    case LossKind::kSquaredDistance:
      return double{*std::ranges::min_element(scores)};
    case LossKind::kNegativeLogLikelihood:
      return -static_cast<double>(scores.back());
  }
  return std::numeric_limits<double>::infinity();
}

std::uint32_t predicted_class(std::span<const float> scores) noexcept {
  if (scores.size() == 1) return scores.front() > 0 ? 1 : 0;
  return static_cast<std::uint32_t>(std::ranges::max_element(scores) - scores.begin());
}

std::uint32_t cluster_of(LossKind loss, std::span<const float> scores) noexcept {
  const auto best = loss == LossKind::kNegativeLogLikelihood ? std::max_element(scores.begin(), scores.end() - 1)
                                                             : std::ranges::min_element(scores);
  return static_cast<std::uint32_t>(best - scores.begin());
}

void check_scores(std::span<const float> scores) {
  if (std::ranges::any_of(scores, [](float score) { return std::isnan(score); })) {
    throw Error(ErrorKind::kDiverged, "a score is not a number: parameters or values are too large",
                "train again with a smaller learning rate, with scaling, or with --l2");
  }
}

MetricsPart metrics_part(LossKind loss, std::uint32_t classes, std::span<const float> scores,
                         std::span<const float> labels, std::span<const float> weights) {
  const std::size_t outputs = loss == LossKind::kSoftmax ? classes : 1;
  check(scores.size() == labels.size() * outputs && (weights.empty() || weights.size() == labels.size()),
        "scores, labels and weights are of the same rows");
  check_scores(scores);
  MetricsPart part{.rows = labels.size()};
  if (loss != LossKind::kSquaredError) part.outcomes.reserve(labels.size());
  if (loss != LossKind::kSquaredError && outputs == 1) part.ranked.reserve(labels.size());
  for (std::size_t row = 0; row < labels.size(); ++row) {
    const auto row_scores = scores.subspan(row * outputs, outputs);
    const float weight = weights.empty() ? 1 : weights[row];
    if (loss != LossKind::kSquaredError) {
      part.outcomes.push_back({class_of(labels[row], classes), predicted_class(row_scores), weight});
      if (outputs == 1) part.ranked.push_back(ranked_row(row_scores.front(), weight, labels[row] > 0.5F));
    }
    if (weight == 0) continue;  // 0 times an infinite loss is no number
    const auto w = static_cast<double>(weight);
    part.weight += w;
    if (loss == LossKind::kLogistic) {
      const auto of_score = math::logistic(static_cast<double>(row_scores.front()));
      const bool positive = labels[row] > 0.5F;
      part.loss += w * (positive ? of_score.minus_softplus : of_score.softplus);
      auto& bin = part.calibration[calibration_bin(of_score.sigmoid)];
      bin.weight += w;
      bin.predicted += w * of_score.sigmoid;
      bin.observed += positive ? w : 0;
      continue;
    }
    part.loss += w * row_loss(loss, row_scores, labels[row]);
    if (loss != LossKind::kSquaredError) continue;
    part.absolute_error += w * std::abs(static_cast<double>(row_scores.front()) - static_cast<double>(labels[row]));
    const double distance = static_cast<double>(labels[row]) - part.label_mean;  // Welford's recurrence
    part.label_mean += distance * (w / part.weight);
    part.label_squares += w * distance * (static_cast<double>(labels[row]) - part.label_mean);
  }
  return part;
}

MetricsPart cluster_part(const ClusterScale& scale, std::span<const float> scores, const RowGroup& group) {
  const std::size_t outputs = scale.clusters + (scale.loss == LossKind::kNegativeLogLikelihood ? 1U : 0U);
  check(scores.size() == group.rows * outputs, "there are scores of each cluster");
  check(!group.dense || scale.origin.size() == group.columns, "dense rows have an origin");
  check_scores(scores);
  MetricsPart part{.rows = group.rows};
  part.clusters.resize(scale.clusters);
  part.features.assign(group.keys.begin(), group.keys.end());
  part.sums.resize(group.dense ? group.columns : group.keys.size());
  part.squares.resize(part.sums.size());
  for (std::size_t row = 0; row < group.rows; ++row) {
    const double w = group.weights.empty() ? 1 : double{group.weights[row]};
    if (w == 0) continue;
    const auto row_scores = scores.subspan(row * outputs, outputs);
    auto& cluster = part.clusters[cluster_of(scale.loss, row_scores)];
    const double loss = row_loss(scale.loss, row_scores, 0);
    cluster.weight += w;
    cluster.loss += w * loss;
    part.weight += w;
    part.loss += w * loss;
    const auto add = [&](std::size_t index, double x) {
      part.sums[index] += w * x;
      part.squares[index] += w * x * x;
    };
    if (group.dense) {
      const auto* const x = group.matrix.data() + row * group.columns;
      for (std::size_t f = 0; f < group.columns; ++f) add(f, double{x[f]} - double{scale.origin[f]});
    } else {
      for (auto entry = group.row_begin[row]; entry < group.row_begin[row + 1]; ++entry) {
        add(group.index(entry), group.values.empty() ? 1 : double{group.values[entry]});
      }
    }
  }
  return part;
}

Metrics::Metrics(LossKind loss, std::uint32_t classes, std::size_t exact_rows)
    : loss_kind_(loss), classes_(classes), ranking_(exact_rows), sums_(classes) {
  check(!is_of_clusters(loss), "clusters have a scale");
  check((loss == LossKind::kSquaredError) == (classes == 0), "regression, and only it, has no classes");
  if (classes <= kMostConfusionClasses) matrix_.resize(std::size_t{classes} * classes);
}

Metrics::Metrics(ClusterScale scale)
    : loss_kind_(scale.loss),
      classes_(0),
      ranking_(RankingCurve::kExactRows),
      scale_(std::move(scale)),
      clusters_(scale_.clusters),
      feature_sums_(scale_.features),
      feature_squares_(scale_.features) {}

void Metrics::add(const MetricsPart& part) {
  if (loss_kind_ == LossKind::kSquaredError) add_labels(part);
  if (is_of_clusters(loss_kind_)) add_clusters(part);
  rows_ += part.rows;
  weight_ += part.weight;
  loss_ += part.loss;
  absolute_error_ += part.absolute_error;
  for (std::size_t i = 0; i < kCalibrationBins; ++i) {
    calibration_[i].weight += part.calibration[i].weight;
    calibration_[i].predicted += part.calibration[i].predicted;
    calibration_[i].observed += part.calibration[i].observed;
  }
  for (const auto& outcome : part.outcomes) add_outcome(outcome);
  ranking_.add(part.ranked);
}

void Metrics::add_outcome(const MetricsPart::Outcome& outcome) {
  const auto weight = static_cast<double>(outcome.weight);
  sums_[outcome.truth].truth += weight;
  sums_[outcome.predicted].predicted += weight;
  if (outcome.truth == outcome.predicted) sums_[outcome.truth].correct += weight;
  if (!matrix_.empty()) matrix_[std::size_t{outcome.truth} * classes_ + outcome.predicted] += weight;
}

/// Mean and squares of two sets together (Chan, Golub, LeVeque: "Updating formulae and a pairwise algorithm for
/// computing sample variances", 1979).
void Metrics::add_labels(const MetricsPart& part) {
  const double together = weight_ + part.weight;
  if (together == 0) return;
  const double distance = part.label_mean - label_mean_;
  label_squares_ += part.label_squares + distance * distance * (weight_ * (part.weight / together));
  label_mean_ += distance * (part.weight / together);
}

void Metrics::add_clusters(const MetricsPart& part) {
  for (std::size_t c = 0; c < clusters_.size(); ++c) {
    clusters_[c].weight += part.clusters[c].weight;
    clusters_[c].loss += part.clusters[c].loss;
  }
  const bool sparse = !part.features.empty();
  for (std::size_t i = 0; i < part.sums.size(); ++i) {
    const std::size_t feature = sparse ? part.features[i] : i;
    check(feature < scale_.features, "rows have the model's features");
    feature_sums_[feature] += part.sums[i];
    feature_squares_[feature] += part.squares[i];
  }
}

std::vector<ClusterMetrics> Metrics::cluster_report() const {
  auto report = clusters_;
  for (auto& cluster : report) cluster.loss = ratio(cluster.loss, cluster.weight);
  return report;
}

ClassificationReport Metrics::classification() const {
  ClassificationReport report;
  double correct = 0;
  double f1 = 0;
  double occurring = 0;
  for (const auto& sums : sums_) {
    const ClassMetrics metrics{.support = sums.truth,
                               .predicted = sums.predicted,
                               .precision = ratio(sums.correct, sums.predicted),
                               .recall = ratio(sums.correct, sums.truth),
                               .f1 = ratio(2 * sums.correct, sums.predicted + sums.truth)};
    report.classes.push_back(metrics);
    correct += sums.correct;
    f1 += metrics.f1;
    if (metrics.support + metrics.predicted > 0) ++occurring;
  }
  report.accuracy = correct / weight_;
  report.macro_f1 = f1 / occurring;
  if (classes_ <= kMostMatrixClasses) report.matrix = matrix_;
  for (std::size_t cell = 0; cell < matrix_.size(); ++cell) {
    const auto truth = static_cast<std::uint32_t>(cell / classes_);
    const auto predicted = static_cast<std::uint32_t>(cell % classes_);
    if (truth != predicted && matrix_[cell] > 0) report.confusions.push_back({truth, predicted, matrix_[cell]});
  }
  std::ranges::stable_sort(report.confusions, std::ranges::greater(), &Confusion::weight);
  if (report.confusions.size() > kMostConfusions) report.confusions.resize(kMostConfusions);
  return report;
}

RegressionReport Metrics::regression() const {
  RegressionReport report{.rmse = std::sqrt(loss_ / weight_),
                          .mae = absolute_error_ / weight_,
                          .base_rmse = std::sqrt(label_squares_ / weight_)};
  if (label_squares_ > 0) report.r2 = 1 - loss_ / label_squares_;
  return report;
}

double Metrics::base_of_clusters() const {
  std::vector<double> variances;
  for (std::size_t f = 0; f < feature_sums_.size(); ++f) {
    variances.push_back(std::max(0.0, feature_squares_[f] / weight_ - squared(feature_sums_[f] / weight_)));
  }
  if (loss_kind_ == LossKind::kNegativeLogLikelihood) return gaussian_loss(variances, scale_.reg_covar);
  double sum = 0;
  for (const auto variance : variances) sum += variance;
  return sum;
}

double Metrics::base_loss() const {
  if (loss_kind_ == LossKind::kSquaredError) return label_squares_ / weight_;
  if (is_of_clusters(loss_kind_)) return base_of_clusters();
  if (loss_kind_ == LossKind::kLogistic || loss_kind_ == LossKind::kSoftmax) {
    double entropy = 0;
    for (const auto& sums : sums_) entropy += surprise(sums.truth / weight_);
    return entropy;
  }
  const double p = sums_[1].truth / weight_;
  return loss_kind_ == LossKind::kHinge ? 2 * std::min(p, 1 - p) : 4 * p * (1 - p);
}

Evaluation Metrics::finish() {
  if (!(weight_ > 0)) {
    throw Error(ErrorKind::kBadData,
                rows_ == 0 ? "there are no rows to evaluate on" : "all rows to evaluate on have the weight 0");
  }
  Evaluation evaluation{
      .loss_kind = loss_kind_, .rows = rows_, .weight = weight_, .loss = loss_ / weight_, .base_loss = base_loss()};
  if (loss_kind_ == LossKind::kSquaredError) {
    evaluation.regression = regression();
  } else if (is_of_clusters(loss_kind_)) {
    evaluation.clusters = cluster_report();
  } else {
    evaluation.classification = classification();
    if (loss_kind_ != LossKind::kSoftmax) evaluation.ranking = ranking_.finish();
    if (loss_kind_ == LossKind::kLogistic) {
      for (const auto& [w, predicted, observed] : calibration_) {
        evaluation.calibration.push_back({w, ratio(predicted, w), ratio(observed, w)});
      }
    }
  }
  return evaluation;
}

}  // namespace virga
