#include "virga/model/linear_model.h"

#include <algorithm>
#include <string>

#include "virga/base/error.h"

namespace virga {
namespace {

constexpr std::uint32_t kLanes = 16;

std::uint32_t padded(std::uint32_t outputs) noexcept {
  return outputs == 1 ? 1 : (outputs + kLanes - 1) / kLanes * kLanes;
}

/// Makes room for `size` floats; what was there may be lost.
float* reserve(std::vector<float>& buffer, std::size_t size) {
  if (buffer.size() < size) buffer = std::vector<float>(size);
  return buffer.data();
}

std::size_t local_size(const RowGroup& group) noexcept { return group.dense ? group.columns : group.keys.size(); }

/// The group's index space is that of the mini-batch: nothing to translate.
bool is_identity(const BatchSlice& slice) noexcept {
  return slice.group->dense || (slice.all_used && slice.positions.empty());
}

/// Calls visit(local index, position in the mini-batch's keys) for each feature that the slice uses, ascending.
template <typename Visit>
void for_each_used(const BatchSlice& slice, Visit visit) {
  const auto* const positions = slice.positions.empty() ? nullptr : slice.positions.data();
  if (slice.all_used || slice.group->dense) {
    const std::size_t count = local_size(*slice.group);
#pragma GCC unroll 8
    for (std::size_t u = 0; u < count; ++u) visit(u, positions == nullptr ? u : positions[u]);
    return;
  }
  const auto* const used = slice.used.data();
  const std::size_t count = slice.used.size();
#pragma GCC unroll 8
  for (std::size_t u = 0; u < count; ++u) visit(used[u], positions == nullptr ? u : positions[u]);
}

SparseRows sparse_rows(const RowGroup& group, std::uint32_t first, std::uint32_t last) noexcept {
  return {.rows = last - first,
          .row_begin = group.row_begin.data() + first,
          .indices16 = group.wide() ? nullptr : group.indices16.data(),
          .indices32 = group.wide() ? group.indices32.data() : nullptr,
          .values = group.values.empty() ? nullptr : group.values.data()};
}

DenseRows dense_rows(const RowGroup& group, std::uint32_t first, std::uint32_t last) noexcept {
  return {.rows = last - first,
          .columns = group.columns,
          .matrix = group.matrix.data() + std::size_t{first} * group.columns};
}

PointLoss point_loss(ModelKind kind) noexcept {
  switch (kind) {
    case ModelKind::kSvm:
      return PointLoss::kHinge;
    case ModelKind::kSvmSquared:
      return PointLoss::kSquaredHinge;
    case ModelKind::kLeastSquares:
      return PointLoss::kSquaredError;
    case ModelKind::kLogistic:
    case ModelKind::kSoftmax:
    case ModelKind::kKMeans:
    case ModelKind::kGaussianMixture:
      break;
  }
  return PointLoss::kLogistic;
}

}  // namespace

LinearModel::LinearModel(const ModelSpec& spec, const Kernels& kernels)
    : spec_(spec),
      kernels_(kernels),
      outputs_(spec.kind == ModelKind::kSoftmax ? spec.classes : 1),
      lanes_(spec.kind == ModelKind::kSoftmax ? std::max(padded(spec.classes), kLanes) : 1),
      bias_(lanes_) {}

void LinearModel::gradient(const MiniBatch& batch, const CompactParameters& parameters, Contribution& out) {
  start(batch, out);
  check(parameters.tables.size() == out.tables.size(), "parameters come in the model's tables");
  check(parameters.tables[0].size() == out.tables[0].values.size(), "there is one row of weights a key");
  if (spec_.fit_bias) set_bias(parameters.tables[1]);
  for (const auto& slice : batch.slices) add_slice(slice, parameters, out);
}

void LinearModel::start(const MiniBatch& batch, Contribution& out) const {
  out.tables.resize(spec_.fit_bias ? 2 : 1);
  auto& weights = out.tables[0];
  weights.whole = spec_.dense;
  weights.keys.assign(batch.keys.begin(), batch.keys.end());
  weights.values.assign((spec_.dense ? spec_.features : batch.keys.size()) * outputs_, 0.0F);
  if (spec_.fit_bias) {
    out.tables[1].whole = true;
    out.tables[1].keys.clear();
    out.tables[1].values.assign(outputs_, 0.0F);
  }
  out.weight = 0;
  out.loss = 0;
  out.examples = 0;
}

void LinearModel::add_slice(const BatchSlice& slice, const CompactParameters& parameters, Contribution& out) {
  const Rows rows = {*slice.group, slice.first_row, slice.last_row};
  check(rows.group.dense == spec_.dense, "the rows are as dense as the model");
  check(!spec_.dense || rows.group.columns == spec_.features, "dense rows have a column for each feature");
  float* scores = reserve(scores_, std::size_t{rows.count()} * lanes_);
  forward(rows, localise(slice, parameters.tables[0]), scores);
  const auto sums = loss_and_residuals(rows, scores);
  out.loss += sums.loss;
  out.weight += sums.weight;
  out.examples += sums.examples;
  if (spec_.fit_bias) add_bias_gradient(rows.count(), out.tables[1].values);

  auto& gradient = out.tables[0].values;
  if (lanes_ == 1 && is_identity(slice)) {
    backward(rows, scores, gradient.data());
    return;
  }
  // local_gradient_ is all zero between slices.
  float* local = reserve(local_gradient_, local_size(rows.group) * lanes_);
  backward(rows, scores, local);
  if (lanes_ == 1) {
    auto* const sum = gradient.data();
    for_each_used(slice, [&](std::size_t index, std::size_t position) { sum[position] += local[index]; });
    if (slice.all_used || slice.used.size() > local_size(rows.group) / kLanes) {
      std::fill_n(local, local_size(rows.group), 0.0F);
    } else {
      for (const auto index : slice.used) local[index] = 0.0F;
    }
    return;
  }
  for_each_used(slice, [&](std::size_t index, std::size_t position) {
    for (std::uint32_t c = 0; c < outputs_; ++c) {
      gradient[position * outputs_ + c] += local[index * lanes_ + c];
      local[index * lanes_ + c] = 0.0F;
    }
  });
}

/// The weights of a slice by local index, [local x lanes_]; those that the slice does not use are left as they were.
const float* LinearModel::localise(const BatchSlice& slice, const std::vector<float>& weights) {
  if (lanes_ == 1 && is_identity(slice)) return weights.data();
  float* local = reserve(local_weights_, local_size(*slice.group) * lanes_);
  if (lanes_ == 1) {
    const auto* const from = weights.data();
    for_each_used(slice, [&](std::size_t index, std::size_t position) { local[index] = from[position]; });
    return local;
  }
  for_each_used(slice, [&](std::size_t index, std::size_t position) {
    std::copy_n(weights.data() + position * outputs_, outputs_, local + index * lanes_);
  });
  return local;
}

/// The same for all rows of a group, from the whole table [features x outputs].
const float* LinearModel::localise(const RowGroup& group, const std::vector<float>& weights) {
  if (lanes_ == 1 && group.dense) return weights.data();
  const std::size_t count = local_size(group);
  float* local = reserve(local_weights_, count * lanes_);
  if (lanes_ == 1) {
    for (std::size_t i = 0; i < count; ++i) local[i] = weights[group.keys[i]];
    return local;
  }
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t feature = group.dense ? i : group.keys[i];
    std::copy_n(weights.data() + feature * outputs_, outputs_, local + i * lanes_);
  }
  return local;
}

void LinearModel::set_bias(const std::vector<float>& bias) { std::copy_n(bias.begin(), outputs_, bias_.begin()); }

void LinearModel::add_bias_gradient(std::uint32_t rows, std::vector<float>& gradient) {
  if (lanes_ == 1) {
    gradient[0] += kernels_.sum(rows, scores_.data());
    return;
  }
  std::vector<float> sums(lanes_);
  kernels_.sum_wide(rows, lanes_, scores_.data(), sums.data());
  for (std::uint32_t c = 0; c < outputs_; ++c) gradient[c] += sums[c];
}

void LinearModel::forward(const Rows& rows, const float* weights, float* scores) const {
  if (spec_.dense) {
    const auto x = dense_rows(rows.group, rows.first, rows.last);
    lanes_ == 1 ? kernels_.dense_forward(x, weights, bias_[0], scores)
                : kernels_.dense_forward_wide(x, lanes_, weights, bias_.data(), scores);
  } else {
    const auto x = sparse_rows(rows.group, rows.first, rows.last);
    lanes_ == 1 ? kernels_.sparse_forward(x, weights, bias_[0], scores)
                : kernels_.sparse_forward_wide(x, lanes_, weights, bias_.data(), scores);
  }
}

void LinearModel::backward(const Rows& rows, const float* residuals, float* gradient) const {
  if (spec_.dense) {
    const auto x = dense_rows(rows.group, rows.first, rows.last);
    lanes_ == 1 ? kernels_.dense_backward(x, residuals, gradient)
                : kernels_.dense_backward_wide(x, lanes_, residuals, gradient);
  } else {
    const auto x = sparse_rows(rows.group, rows.first, rows.last);
    lanes_ == 1 ? kernels_.sparse_backward(x, residuals, gradient)
                : kernels_.sparse_backward_wide(x, lanes_, residuals, gradient);
  }
}

/// Scores become residuals, in place.
LossSums LinearModel::loss_and_residuals(const Rows& rows, float* scores) {
  check_labels(rows);
  const float* labels = rows.group.labels.data() + rows.first;
  const float* weights = example_weights(rows);
  LossSums sums;
  sums.examples = rows.count();
  sums.weight = static_cast<double>(rows.count());
  if (weights != nullptr) {
    sums.weight = 0;
    for (std::uint32_t i = 0; i < rows.count(); ++i) sums.weight += static_cast<double>(weights[i]);
  }
  sums.loss = spec_.kind == ModelKind::kSoftmax
                  ? kernels_.softmax_loss(rows.count(), outputs_, lanes_, labels, weights, scores)
                  : kernels_.point_loss(point_loss(spec_.kind), rows.count(), scores, labels, weights, scores);
  return sums;
}

/// Example weight times class weight; null if all are 1.
const float* LinearModel::example_weights(const Rows& rows) {
  const auto& group = rows.group;
  const float* own = group.weights.empty() ? nullptr : group.weights.data() + rows.first;
  if (spec_.class_weights.empty()) return own;
  float* weights = reserve(weights_, rows.count());
  for (std::uint32_t i = 0; i < rows.count(); ++i) {
    const float of_class = spec_.class_weights[static_cast<std::size_t>(group.labels[rows.first + i])];
    weights[i] = own != nullptr ? own[i] * of_class : of_class;
  }
  return weights;
}

void LinearModel::check_labels(const Rows& rows) const {
  if (spec_.kind != ModelKind::kSoftmax && spec_.class_weights.empty()) return;
  const auto classes = static_cast<float>(spec_.classes);
  for (std::uint32_t i = rows.first; i < rows.last; ++i) {
    const float label = rows.group.labels[i];
    if (label >= 0.0F && label < classes) continue;
    throw Error(ErrorKind::kBadData,
                "a row has label " + std::to_string(label) + ", but the model has " + std::to_string(spec_.classes) +
                    " classes, numbered from 0",
                "use data whose classes are those of the model, or train a new model");
  }
}

void LinearModel::scores(const RowGroup& group, const Tables& parameters, std::span<float> out) {
  copy_scores(group, forward_all(group, parameters), out);
}

LossSums LinearModel::losses(const RowGroup& group, const Tables& parameters) {
  return loss_and_residuals({group, 0, group.rows}, forward_all(group, parameters));
}

LossSums LinearModel::losses_and_scores(const RowGroup& group, const Tables& parameters, std::span<float> scores_out) {
  auto* const scores = forward_all(group, parameters);
  copy_scores(group, scores, scores_out);
  return loss_and_residuals({group, 0, group.rows}, scores);
}

/// Scores of all rows of a group at full parameters, [rows x lanes_].
float* LinearModel::forward_all(const RowGroup& group, const Tables& parameters) {
  if (spec_.fit_bias) set_bias(parameters.values[1]);
  float* scores = reserve(scores_, std::size_t{group.rows} * lanes_);
  forward({group, 0, group.rows}, localise(group, parameters.values[0]), scores);
  return scores;
}

void LinearModel::copy_scores(const RowGroup& group, const float* scores, std::span<float> out) const {
  check(out.size() == std::size_t{group.rows} * outputs_, "there is room for one score a row and output");
  for (std::size_t i = 0; i < group.rows; ++i) {
    std::copy_n(scores + i * lanes_, outputs_, out.begin() + static_cast<std::ptrdiff_t>(i * outputs_));
  }
}

}  // namespace virga
