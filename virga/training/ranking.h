#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace virga {

/// How well scores put positives above negatives. Definitions: docs/metrics.md. Absent when there is no positive or no
/// negative (for average precision: no positive).
struct Ranking {
  std::optional<double> auc;                ///< area under the ROC curve
  std::optional<double> average_precision;  ///< area under the precision-recall curve, as a step function
  /// 0: exact. Else the figures above were taken from a histogram of scores, and lie this near the exact ones.
  double auc_error = 0;
  double average_precision_error = 0;
  bool operator==(const Ranking&) const = default;
};

/// A row's score, weight and class in 8 bytes that sort by score.
using RankedRow = std::uint64_t;
/// `score` is not NaN, `weight` is finite and not negative.
[[nodiscard]] RankedRow ranked_row(float score, float weight, bool positive) noexcept;

/// Collects rows and ranks them. Rows of weight 0 change nothing. Memory: 8 bytes a row up to `exact_rows`; then the
/// rows go into a histogram of 2^21 bins (32 MiB), each of which holds the scores that share sign, exponent and the
/// first 12 bits of the fraction. Exact results do not depend on the order of rows; binned ones only by rounding.
class RankingCurve {
 public:
  static constexpr std::size_t kExactRows = std::size_t{1} << 22;

  explicit RankingCurve(std::size_t exact_rows = kExactRows) : exact_rows_(exact_rows) {}
  void add(std::span<const RankedRow> rows);
  [[nodiscard]] Ranking finish();  ///< sorts the rows, for which it takes as much memory again

 private:
  struct Bin {
    double positive = 0;  // sums of weights
    double negative = 0;
  };
  void bin(RankedRow row);

  const std::size_t exact_rows_;
  std::vector<RankedRow> rows_;
  std::vector<Bin> bins_;  // empty: exact so far
};

}  // namespace virga
