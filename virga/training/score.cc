#include "virga/training/score.h"

#include "virga/math/kernels.h"

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

Scorer::Scorer(const ModelFile& model, unsigned threads) : model_(model), threads_(threads) {
  for (auto& thread : threads_) {
    thread.model = make_model(model.spec, kernels(best_simd_level()));
    thread.model->prepare(model.parameters);
  }
}

Scorer::~Scorer() = default;

std::span<const float> Scorer::scores(unsigned thread, const RowGroup& group) {
  auto& mine = threads_[thread];
  mine.scores.resize(std::size_t{group.rows} * outputs_of(model_.spec));
  mine.model->scores(group, model_.parameters, mine.scores);
  return mine.scores;
}

}  // namespace virga
