#include "virga/model/gaussian_mixture.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/random.h"
#include "virga/math/elementary.h"

namespace virga {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kLog2Pi = 1.8378770664093453;
constexpr double kLeastVariance = std::numeric_limits<float>::min();  // that has an inverse
constexpr std::uint32_t kMixtureRows = 32;                            // of the kernels' panels
constexpr double kLostShare = 1e-12;  // of all rows: what rounding alone may leave of a component

std::size_t triangle_of(std::size_t size) noexcept { return size * (size + 1) / 2; }

/// `inverse` = `factor`^-1, both lower triangles of `size` rows, row by row.
void invert_triangle(std::size_t size, const double* factor, double* inverse) noexcept {
  for (std::size_t i = 0; i < size; ++i) {
    const double* const row = factor + triangle_of(i);
    double* const out = inverse + triangle_of(i);
    std::fill_n(out, i, 0.0);
    for (std::size_t j = 0; j < i; ++j) {
      const double* const above = inverse + triangle_of(j);
      for (std::size_t c = 0; c <= j; ++c) out[c] -= row[j] * above[c];
    }
    for (std::size_t c = 0; c < i; ++c) out[c] /= row[i];
    out[i] = 1 / row[i];
  }
}

}  // namespace

Layout mixture_parameters(const ModelSpec& spec) {
  const auto whole = [](std::string_view name, std::uint32_t rows, std::uint32_t width) {
    return TableSpec{.name = std::string(name), .rows = rows, .width = width, .regularised = false, .sparse = false};
  };
  return {whole("means", spec.features, spec.clusters),
          spec.covariance == CovarianceKind::kFull
              ? whole("cholesky", spec.clusters, static_cast<std::uint32_t>(triangle_of(spec.features)))
              : whole("variances", spec.features, spec.clusters),
          whole("mixing", 1, spec.clusters)};
}

Layout mixture_statistics(const ModelSpec& spec) {
  const auto summed = [](std::string_view name, std::uint32_t rows, std::uint32_t width, bool sparse) {
    return TableSpec{.name = std::string(name),
                     .rows = rows,
                     .width = width,
                     .regularised = false,
                     .sparse = sparse,
                     .doubles = true};
  };
  const auto components = summed("components", spec.clusters, 1, false);
  if (spec.covariance == CovarianceKind::kDiagonal) {
    return {summed("moments", spec.features, 2 * spec.clusters, !spec.dense), components};
  }
  return {summed("first", spec.features, spec.clusters, false),
          summed("second", spec.clusters, static_cast<std::uint32_t>(triangle_of(spec.features)), false), components};
}

std::size_t cholesky(std::size_t size, std::span<double> a) noexcept {
  for (std::size_t i = 0; i < size; ++i) {
    double* const row = a.data() + triangle_of(i);
    for (std::size_t j = 0; j <= i; ++j) {
      const double* const other = a.data() + triangle_of(j);
      double sum = row[j];
      for (std::size_t c = 0; c < j; ++c) sum -= row[c] * other[c];
      if (j < i) {
        row[j] = sum / other[j];
      } else if (sum > 0) {
        row[i] = std::sqrt(sum);
      } else {
        return i;
      }
    }
  }
  return size;
}

double gaussian_loss(std::span<const double> variances, double reg_covar) noexcept {
  double sum = 0;
  for (const auto variance : variances) {
    const double regularised = std::max(variance + reg_covar, kLeastVariance);
    sum += kLog2Pi + math::log(regularised) + variance / regularised;
  }
  return sum / 2;
}

// --- Expectation

GaussianMixture::GaussianMixture(const ModelSpec& spec, const Kernels& kernels)
    : spec_(spec),
      kernels_(kernels),
      padded_(rounded_up(spec.features)),
      lanes_(rounded_up(spec.clusters)),
      triangle_(triangle_of(spec.features)) {
  check(!is_full() || (spec.dense && spec.features <= kMostFullFeatures), "full covariances are of dense rows");
  densities_.resize(std::size_t{kMixtureRows} * (spec.dense ? spec.clusters : lanes_));
  shares_.resize(std::size_t{spec.dense ? kMixtureRows : 1} * spec.clusters);
  responsibilities_.resize(spec.clusters);
  if (!spec.dense) return;
  rows_.resize(std::size_t{kMixtureRows} * padded_);
  panel_.resize(std::size_t{kMixtureRows} * spec.features);
  if (is_full()) scratch_.resize(std::size_t{2} * kMixtureRows * padded_);
}

void GaussianMixture::set_parameters(const std::vector<std::vector<float>>& tables) {
  const std::size_t k = spec_.clusters, features = spec_.features;
  check(tables.size() == 3 && tables[0].size() == features * k && tables[2].size() == k, "a mixture has its tables");
  check(tables[1].size() == (is_full() ? k * triangle_ : features * k), "each component has a covariance");
  tables_ = &tables;
  constants_.assign(lanes_, -kInfinity);
  for (std::size_t c = 0; c < k; ++c) {
    constants_[c] = math::log(double{tables[2][c]}) - 0.5 * static_cast<double>(features) * kLog2Pi;
  }
  if (spec_.dense) {
    means_.assign(k * padded_, 0.0);
    for (std::size_t f = 0; f < features; ++f) {
      for (std::size_t c = 0; c < k; ++c) means_[c * padded_ + f] = double{tables[0][f * k + c]};
    }
  }
  is_full() ? set_factors(tables[1]) : set_variances(tables[0], tables[1]);
}

void GaussianMixture::set_variances(const std::vector<float>& means, const std::vector<float>& variances) {
  const std::size_t k = spec_.clusters;
  if (spec_.dense) precisions_.assign(k * padded_, 0.0);
  std::vector<double> sums(k);
  for (std::size_t f = 0; f < spec_.features; ++f) {
    for (std::size_t c = 0; c < k; ++c) {
      const auto variance = double{variances[f * k + c]}, mean = double{means[f * k + c]};
      sums[c] += math::log(variance);
      if (spec_.dense) {
        precisions_[c * padded_ + f] = 1 / variance;
      } else {
        sums[c] += mean * mean / variance;  // as if all entries were 0
      }
    }
  }
  for (std::size_t c = 0; c < k; ++c) constants_[c] -= sums[c] / 2;
}

void GaussianMixture::set_factors(const std::vector<float>& triangles) {
  factors_.resize(spec_.clusters * triangle_);
  std::vector<double> factor(triangle_);
  for (std::size_t c = 0; c < spec_.clusters; ++c) {
    std::copy_n(triangles.begin() + static_cast<std::ptrdiff_t>(c * triangle_), triangle_, factor.begin());
    invert_triangle(spec_.features, factor.data(), factors_.data() + c * triangle_);
    for (std::size_t f = 0; f < spec_.features; ++f) constants_[c] -= math::log(factor[triangle_of(f + 1) - 1]);
  }
}

void GaussianMixture::start() {
  mass_.assign(spec_.clusters, 0.0);
  totals_ = {};
  if (!spec_.dense) return;
  first_.assign(std::size_t{spec_.clusters} * padded_, 0.0);
  second_.assign(first_.size() * (is_full() ? spec_.features : 1), 0.0);
}

/// The group's dictionary; log N of a row is the constant and the sum of x (mean / variance - x / (2 variance)).
void GaussianMixture::localise(const RowGroup& group) {
  const std::size_t k = spec_.clusters, width = 2 * std::size_t{lanes_};
  if (terms_.size() < group.keys.size() * width) terms_.resize(group.keys.size() * width);
  const auto& tables = *tables_;
  for (std::size_t i = 0; i < group.keys.size(); ++i) {
    const std::size_t row = group.keys[i] * k;
    for (std::size_t c = 0; c < k; ++c) {
      const auto variance = double{tables[1][row + c]};
      terms_[i * width + c] = double{tables[0][row + c]} / variance;
      terms_[i * width + lanes_ + c] = 0.5 / variance;
    }
  }
}

/// log (pi N) of up to 32 rows.
GaussianMixture::Densities GaussianMixture::densities_of(const ClusterRange& rows) {
  if (!spec_.dense) {
    kernels_.sparse_log_densities(sparse_rows_of(rows), lanes_, terms_.data(), constants_.data(), densities_.data());
    return {.values = densities_.data(), .of_row = lanes_, .of_component = 1};
  }
  for (std::uint32_t i = 0; i < rows.count(); ++i) {
    const auto* const from = rows.group.matrix.data() + std::size_t{rows.first + i} * spec_.features;
    for (std::size_t f = 0; f < spec_.features; ++f) {
      rows_[std::size_t{i} * padded_ + f] = panel_[f * kMixtureRows + i] = double{from[f]};
    }
  }
  for (std::size_t c = 0; c < spec_.clusters; ++c) {
    double* const out = densities_.data() + c * kMixtureRows;
    const double* const mean = means_.data() + c * padded_;
    if (is_full()) {
      kernels_.triangular_squares(spec_.features, panel_.data(), mean, factors_.data() + c * triangle_, scratch_.data(),
                                  out);
    } else {
      kernels_.diagonal_squares(spec_.features, panel_.data(), mean, precisions_.data() + c * padded_, out);
    }
    for (std::uint32_t i = 0; i < kMixtureRows; ++i) out[i] = constants_[c] - out[i] / 2;
  }
  return {.values = densities_.data(), .of_row = 1, .of_component = kMixtureRows};
}

/// Of a row, with its log (pi N).
GaussianMixture::RowDensity GaussianMixture::respond(const Densities& densities, std::uint32_t row) {
  const double* const values = densities.values + row * densities.of_row;
  double largest = -kInfinity;
  for (std::size_t c = 0; c < spec_.clusters; ++c) {
    largest = std::max(largest, values[c * densities.of_component]);  // NaN is not taken
  }
  double sum = 0;
  for (std::size_t c = 0; c < spec_.clusters; ++c) {
    responsibilities_[c] = math::exp(values[c * densities.of_component] - largest);
    sum += responsibilities_[c];
  }
  for (auto& responsibility : responsibilities_) responsibility /= sum;
  return {.largest = largest, .log_sum = math::log(sum)};
}

template <typename Visit>
void GaussianMixture::for_each_panel(const ClusterRange& rows, Visit visit) {
  check(rows.group.dense == spec_.dense, "the rows are as dense as the model");
  check(!spec_.dense || rows.group.columns == spec_.features, "dense rows have a column for each feature");
  if (!spec_.dense) localise(rows.group);
  for (auto first = rows.first; first < rows.last; first += kMixtureRows) {
    const ClusterRange panel{rows.group, first, std::min(first + kMixtureRows, rows.last)};
    visit(panel, densities_of(panel));
  }
}

/// Loss and masses of the rows; moments, too, of dense rows if `wants_sums`, of sparse ones if `sparse` has sums.
void GaussianMixture::add(const ClusterRange& rows, bool wants_sums, const SparseSums& sparse) {
  for_each_panel(rows, [&](const ClusterRange& panel, const Densities& densities) {
    const auto* const weights = weights_from(panel.group, panel.first);
    for (std::uint32_t i = 0; i < panel.count(); ++i) {
      const double weight = weight_of(weights, i);
      const auto density = respond(densities, i);
      if (weight != 0) {  // 0 times an infinite loss is no number
        totals_.loss -= weight * (density.largest + density.log_sum);
        totals_.weight += weight;
      }
      for (std::size_t c = 0; c < spec_.clusters; ++c) {
        const double share = weight == 0 ? 0 : weight * responsibilities_[c];
        mass_[c] += share;
        shares_[spec_.dense ? c * kMixtureRows + i : c] = share;
      }
      if (sparse.sums != nullptr) add_entries(panel.group, panel.first + i, sparse);
    }
    if (spec_.dense && wants_sums) add_panel(panel.count());
  });
  totals_.examples += rows.count();
}

void GaussianMixture::add_panel(std::uint32_t rows) {
  for (std::size_t c = 0; c < spec_.clusters; ++c) {
    const double* const mean = means_.data() + c * padded_;
    const double* const shares = shares_.data() + c * kMixtureRows;
    double* const first = first_.data() + c * padded_;
    if (is_full()) {
      kernels_.full_moments(rows, spec_.features, padded_, rows_.data(), mean, shares, scratch_.data(), first,
                            second_.data() + c * spec_.features * padded_);
    } else {
      kernels_.diagonal_moments(rows, padded_, rows_.data(), mean, shares, first, second_.data() + c * padded_);
    }
  }
}

void GaussianMixture::add_entries(const RowGroup& group, std::uint32_t row, const SparseSums& to) {
  const std::size_t k = spec_.clusters;
  for (auto entry = group.row_begin[row]; entry < group.row_begin[row + 1]; ++entry) {
    const double value = group.values.empty() ? 1 : double{group.values[entry]};
    double* const sums = to.sums + std::size_t{to.positions[group.index(entry)]} * 2 * k;
    for (std::size_t c = 0; c < k; ++c) {
      const double weighted = shares_[c] * value;
      sums[c] += weighted;
      sums[k + c] += weighted * value;
    }
  }
}

void GaussianMixture::gradient(const MiniBatch& batch, const CompactParameters& parameters, Contribution& out) {
  prepared_ = nullptr;
  if (parameters.version == 0 || parameters.version != version_) set_parameters(parameters.tables);
  tables_ = &parameters.tables;
  version_ = parameters.version;
  start();
  out.tables.resize(is_full() ? 3 : 2);
  auto& moments = out.tables[0];
  moments.whole = spec_.dense;
  moments.keys.assign(batch.keys.begin(), batch.keys.end());
  const std::size_t width = std::size_t{is_full() ? 1U : 2U} * spec_.clusters;
  moments.doubles.assign((spec_.dense ? spec_.features : batch.keys.size()) * width, 0.0);
  for (const auto& slice : batch.slices) {
    const SparseSums sparse = spec_.dense ? SparseSums{nullptr, nullptr}
                                          : SparseSums{positions_of(slice, positions_), moments.doubles.data()};
    add({*slice.group, slice.first_row, slice.last_row}, true, sparse);
  }
  if (spec_.dense) put_sums(out);
  auto& components = out.tables.back();
  components.whole = true;
  components.doubles = mass_;
  out.weight = totals_.weight;
  out.loss = totals_.loss;
  out.examples = totals_.examples;
}

/// Of dense rows.
void GaussianMixture::put_sums(Contribution& out) const {
  const std::size_t k = spec_.clusters, width = is_full() ? k : 2 * k;
  auto& moments = out.tables[0].doubles;
  for (std::size_t f = 0; f < spec_.features; ++f) {
    for (std::size_t c = 0; c < k; ++c) {
      moments[f * width + c] = first_[c * padded_ + f];
      if (!is_full()) moments[f * width + k + c] = second_[c * padded_ + f];
    }
  }
  if (!is_full()) return;
  out.tables[1].whole = true;
  auto& triangles = out.tables[1].doubles;
  triangles.clear();
  triangles.reserve(k * triangle_);
  for (std::size_t row = 0; row < k * spec_.features; ++row) {
    const auto from = second_.begin() + static_cast<std::ptrdiff_t>(row * padded_);
    triangles.insert(triangles.end(), from, from + static_cast<std::ptrdiff_t>(row % spec_.features + 1));
  }
}

void GaussianMixture::prepare(const Tables& parameters) {
  version_ = 0;
  set_parameters(parameters.values);
  prepared_ = &parameters;
}

void GaussianMixture::be_prepared(const Tables& parameters) {
  if (prepared_ == &parameters) return;
  prepared_ = nullptr;
  version_ = 0;
  set_parameters(parameters.values);
}

LossSums GaussianMixture::losses(const RowGroup& group, const Tables& parameters) {
  be_prepared(parameters);
  start();
  add({group, 0, group.rows}, false, {nullptr, nullptr});
  return totals_;
}

void GaussianMixture::scores(const RowGroup& group, const Tables& parameters, std::span<float> out) {
  const std::size_t k = spec_.clusters;
  check(out.size() == group.rows * (k + 1), "there is room for a score a component, and one a row");
  be_prepared(parameters);
  for_each_panel({group, 0, group.rows}, [&](const ClusterRange& panel, const Densities& densities) {
    for (std::uint32_t i = 0; i < panel.count(); ++i) {
      const auto density = respond(densities, i);
      float* const row = out.data() + (panel.first + i) * (k + 1);
      for (std::size_t c = 0; c < k; ++c) {
        const double value = densities.values[i * densities.of_row + c * densities.of_component];
        row[c] = static_cast<float>((value - density.largest) - density.log_sum);
      }
      row[k] = static_cast<float>(density.largest + density.log_sum);
    }
  });
}

// --- Maximisation

namespace {

[[noreturn]] void refuse_component(std::size_t component, std::size_t feature, bool finite, double reg_covar) {
  throw Error(ErrorKind::kDiverged,
              finite ? fmt::format("component {} of the mixture has no spread left in feature {} (counted from 0): its "
                                   "rows all agree there, or it follows from other features, and model.reg_covar is {}",
                                   component, feature, reg_covar)
                     : fmt::format("component {} of the mixture: a sum of feature {} (counted from 0) is not finite",
                                   component, feature),
              finite ? "use a larger --reg-covar (1e-6 is the default), or fewer --clusters"
                     : "look for extreme values with 'virga inspect', or scale the data (--scale standard)");
}

/// The step of maximisation, but for components that have lost their share.
class Maximisation {
 public:
  Maximisation(const ModelSpec& spec, std::span<const std::vector<double>> statistics, Tables& parameters)
      : spec_(spec),
        statistics_(statistics),
        means_(parameters.values[0]),
        covariances_(parameters.values[1]),
        first_(spec.features),
        moved_(spec.features) {}

  /// Component c, whose share of the rows is `mass`.
  void move(std::size_t c, double mass) {
    const std::size_t k = spec_.clusters;
    const bool full = spec_.covariance == CovarianceKind::kFull;
    const std::size_t width = full ? k : 2 * k;
    for (std::size_t f = 0; f < spec_.features; ++f) {
      // Moments of dense rows are about the mean of before.
      const double origin = spec_.dense ? double{means_[f * k + c]} : 0;
      first_[f] = statistics_[0][f * width + c] / mass;
      const auto mean = static_cast<float>(origin + first_[f]);
      if (!std::isfinite(mean)) refuse_component(c, f, false, spec_.reg_covar);
      moved_[f] = double{mean} - origin;
      means_[f * k + c] = mean;
    }
    full ? set_triangle(c, mass) : set_variances(c, mass);
  }

 private:
  /// Of second moments `of_origin`, about the mean as a float is.
  [[nodiscard]] double central(double of_origin, std::size_t i, std::size_t j) const noexcept {
    return (of_origin - first_[i] * first_[j]) + (first_[i] - moved_[i]) * (first_[j] - moved_[j]);
  }

  void set_variances(std::size_t c, double mass) {
    const std::size_t k = spec_.clusters;
    for (std::size_t f = 0; f < spec_.features; ++f) {
      const double variance = central(statistics_[0][f * 2 * k + k + c] / mass, f, f);
      const auto kept = static_cast<float>((variance > 0 ? variance : 0) + spec_.reg_covar);
      if (!std::isfinite(variance) || !std::isfinite(kept)) refuse_component(c, f, false, spec_.reg_covar);
      if (!(double{kept} >= kLeastVariance)) refuse_component(c, f, true, spec_.reg_covar);
      covariances_[f * k + c] = kept;
    }
  }

  void set_triangle(std::size_t c, double mass) {
    const auto size = triangle_of(spec_.features);
    const auto begin = static_cast<std::ptrdiff_t>(c * size);
    std::vector<double> triangle(statistics_[1].begin() + begin,
                                 statistics_[1].begin() + begin + static_cast<std::ptrdiff_t>(size));
    for (std::size_t i = 0; i < spec_.features; ++i) {
      for (std::size_t j = 0; j <= i; ++j) {
        auto& value = triangle[triangle_of(i) + j];
        value = central(value / mass, i, j) + (i == j ? spec_.reg_covar : 0);
        if (!std::isfinite(value)) refuse_component(c, i, false, spec_.reg_covar);
      }
    }
    const auto failed = cholesky(spec_.features, triangle);
    if (failed < spec_.features) refuse_component(c, failed, true, spec_.reg_covar);
    for (std::size_t i = 0; i < size; ++i) covariances_[c * size + i] = static_cast<float>(triangle[i]);
    for (std::size_t f = 0; f < spec_.features; ++f) {
      const auto pivot = covariances_[c * size + triangle_of(f + 1) - 1];
      if (!(double{pivot} >= kLeastVariance)) refuse_component(c, f, true, spec_.reg_covar);
    }
  }

  const ModelSpec& spec_;
  const std::span<const std::vector<double>> statistics_;
  std::vector<float>& means_;
  std::vector<float>& covariances_;
  std::vector<double> first_;  // [features] mean of the moments
  std::vector<double> moved_;  // [features] by how much the mean has moved from their origin, as it was rounded
};

double variance_of(const ModelSpec& spec, const Tables& parameters, std::size_t component, std::size_t feature) {
  const auto& covariances = parameters.values[1];
  if (spec.covariance == CovarianceKind::kDiagonal) return double{covariances[feature * spec.clusters + component]};
  const float* const row = covariances.data() + component * triangle_of(spec.features) + triangle_of(feature);
  double sum = 0;
  for (std::size_t i = 0; i <= feature; ++i) sum += double{row[i]} * double{row[i]};
  return sum;
}

/// Component `empty` takes half of `full`; see move_components().
void split_component(const ModelSpec& spec, const Random& random, std::uint32_t epoch, std::size_t full,
                     std::size_t empty, Tables& parameters) {
  const std::size_t k = spec.clusters;
  const double part = 1 / std::sqrt(static_cast<double>(spec.features));
  move_apart(
      spec, random, epoch, full, empty,
      [&](std::size_t f) {
        const bool moves = spec.dense || parameters.values[0][f * k + full] != 0;
        return moves ? part * std::sqrt(variance_of(spec, parameters, full, f)) : 0;
      },
      parameters.values[0]);
  auto& covariances = parameters.values[1];
  if (spec.covariance == CovarianceKind::kDiagonal) {
    for (std::size_t f = 0; f < spec.features; ++f) covariances[f * k + empty] = covariances[f * k + full];
    return;
  }
  const auto size = triangle_of(spec.features);
  std::copy_n(covariances.begin() + static_cast<std::ptrdiff_t>(full * size), size,
              covariances.begin() + static_cast<std::ptrdiff_t>(empty * size));
}

}  // namespace

bool move_components(const ModelSpec& spec, std::span<const std::vector<double>> statistics, std::uint64_t seed,
                     std::uint32_t epoch, Tables& parameters) {
  auto masses = statistics.back();
  double total = 0;
  for (const auto mass : masses) total += mass;
  const auto lost = [&](double mass) { return !(mass > kLostShare * total); };
  std::vector<std::size_t> empty;
  Maximisation maximisation(spec, statistics, parameters);
  for (std::size_t c = 0; c < masses.size(); ++c) {
    lost(masses[c]) ? empty.push_back(c) : maximisation.move(c, masses[c]);
  }
  const Random random(seed, Purpose::kInitialise);
  for (const auto c : empty) {
    const auto full = std::ranges::max_element(masses);
    split_component(spec, random, epoch, static_cast<std::size_t>(full - masses.begin()), c, parameters);
    *full = masses[c] = *full / 2;
  }
  for (std::size_t c = 0; c < masses.size(); ++c) parameters.values[2][c] = static_cast<float>(masses[c] / total);
  return !empty.empty();
}

}  // namespace virga
