#include "virga/training/ranking.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

namespace virga {
namespace {

constexpr unsigned kBinBits = 21;
constexpr std::uint32_t kSignBit = std::uint32_t{1} << 31;

std::uint32_t ordered_score(RankedRow row) noexcept { return static_cast<std::uint32_t>(row >> 32); }
bool is_positive(RankedRow row) noexcept { return (row & kSignBit) != 0; }
double weight(RankedRow row) noexcept {
  return static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(row) & ~kSignBit));
}

/// Walks from the highest score down, one set of tied (or binned) rows after the other.
class Descent {
 public:
  explicit Descent(bool binned) : binned_(binned) {}

  void step(double positive, double negative) {
    if (positive + negative == 0) return;
    pairs_ += negative * (positives_ + positive / 2);
    // Were the rows of a bin not tied, each of its pairs would count 0 or 1 in place of 1/2.
    pairs_error_ += negative * positive / 2;

    const double before = positives_;
    const double negatives_before = negatives_;
    positives_ += positive;
    negatives_ += negative;
    if (positive == 0) return;
    const double precision = positives_ / (positives_ + negatives_);
    precisions_ += positive * precision;
    // The positives of a bin may all stand above its negatives, or all below.
    best_ += positive * (positives_ / (positives_ + negatives_before));
    worst_ += positive * (negatives_ > 0 ? before / (before + negatives_) : 1);
  }

  [[nodiscard]] Ranking result() const {
    Ranking ranking;
    if (positives_ > 0 && negatives_ > 0) {
      ranking.auc = pairs_ / (positives_ * negatives_);
      if (binned_) ranking.auc_error = pairs_error_ / (positives_ * negatives_);
    }
    if (positives_ > 0) {
      ranking.average_precision = precisions_ / positives_;
      if (binned_) ranking.average_precision_error = std::max(best_ - precisions_, precisions_ - worst_) / positives_;
    }
    return ranking;
  }

 private:
  const bool binned_;
  double positives_ = 0;  // weight of the positives so far, and of the negatives
  double negatives_ = 0;
  double pairs_ = 0;  // weight of the pairs in the right order, ties half
  double pairs_error_ = 0;
  double precisions_ = 0;
  double best_ = 0;
  double worst_ = 0;
};

/// Descending. By digits, of which many are the same in all rows (weights are often 1, scores near each other): several
/// times faster than by comparisons.
void sort_down(std::vector<RankedRow>& rows) {
  constexpr unsigned kDigitBits = 11;
  constexpr RankedRow kDigit = (RankedRow{1} << kDigitBits) - 1;
  std::vector<RankedRow> other(rows.size());
  for (unsigned shift = 0; shift < 64; shift += kDigitBits) {
    std::array<std::size_t, kDigit + 1> count{};
    for (const auto row : rows) ++count[row >> shift & kDigit];
    if (std::ranges::find(count, rows.size()) != count.end()) continue;
    std::size_t place = 0;
    for (auto digit = count.rbegin(); digit != count.rend(); ++digit) place += std::exchange(*digit, place);
    for (const auto row : rows) other[count[row >> shift & kDigit]++] = row;
    rows.swap(other);
  }
}

}  // namespace

RankedRow ranked_row(float score, float weight, bool positive) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(score + 0.0F);  // -0 is 0
  const auto ordered = (bits & kSignBit) != 0 ? ~bits : bits | kSignBit;
  const auto weight_bits = std::bit_cast<std::uint32_t>(weight) & ~kSignBit;
  return std::uint64_t{ordered} << 32 | weight_bits | (positive ? kSignBit : 0);
}

void RankingCurve::bin(RankedRow row) {
  auto& bin = bins_[ordered_score(row) >> (32 - kBinBits)];
  (is_positive(row) ? bin.positive : bin.negative) += weight(row);
}

void RankingCurve::add(std::span<const RankedRow> rows) {
  if (bins_.empty() && rows_.size() + rows.size() > exact_rows_) {
    bins_.resize(std::size_t{1} << kBinBits);
    for (const auto row : rows_) bin(row);
    rows_ = {};
  }
  if (bins_.empty()) {
    rows_.insert(rows_.end(), rows.begin(), rows.end());
  } else {
    for (const auto row : rows) bin(row);
  }
}

Ranking RankingCurve::finish() {
  Descent descent(!bins_.empty());
  for (auto bin = bins_.rbegin(); bin != bins_.rend(); ++bin) descent.step(bin->positive, bin->negative);

  sort_down(rows_);
  for (std::size_t i = 0; i < rows_.size();) {
    Bin tied;
    const auto score = ordered_score(rows_[i]);
    for (; i < rows_.size() && ordered_score(rows_[i]) == score; ++i) {
      (is_positive(rows_[i]) ? tied.positive : tied.negative) += weight(rows_[i]);
    }
    descent.step(tied.positive, tied.negative);
  }
  return descent.result();
}

}  // namespace virga
