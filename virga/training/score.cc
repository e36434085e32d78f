#include "virga/training/score.h"

namespace virga {

LossKind loss_kind(ModelKind kind) noexcept {
  switch (kind) {
    case ModelKind::kLogistic:
      return LossKind::kLogistic;
    case ModelKind::kSvm:
      return LossKind::kHinge;
    case ModelKind::kSvmSquared:
      return LossKind::kSquaredHinge;
    case ModelKind::kSoftmax:
      return LossKind::kSoftmax;
    case ModelKind::kLeastSquares:
      return LossKind::kSquaredError;
    case ModelKind::kKMeans:
      return LossKind::kSquaredDistance;
    case ModelKind::kGaussianMixture:
      return LossKind::kNegativeLogLikelihood;
  }
  return LossKind::kLogistic;
}

Scorer::Scorer(const ModelView& model, unsigned threads, const Kernels& kernels) : model_(model), threads_(threads) {
  for (auto& thread : threads_) {
    thread.model = make_model(model.spec, kernels);
    thread.model->prepare(model.parameters);
  }
}

Scorer::~Scorer() = default;

std::span<float> Scorer::room(unsigned thread, const RowGroup& group) {
  auto& scores = threads_[thread].scores;
  scores.resize(std::size_t{group.rows} * outputs_of(model_.spec));
  return scores;
}

std::span<const float> Scorer::scores(unsigned thread, const RowGroup& group) {
  const auto scores = room(thread, group);
  threads_[thread].model->scores(group, model_.parameters, scores);
  return scores;
}

std::span<const float> Scorer::scores(unsigned thread, const RowGroup& group, LossSums& losses) {
  const auto scores = room(thread, group);
  losses = threads_[thread].model->losses_and_scores(group, model_.parameters, scores);
  return scores;
}

}  // namespace virga
