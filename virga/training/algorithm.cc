#include "virga/training/algorithm.h"

namespace virga {

const Contribution& GradientAveraging::local_step(const CompactParameters& parameters, const MiniBatch& batch) {
  model_->gradient(batch, parameters, contribution_);
  contribution_.weight = mean_weight_ * static_cast<double>(contribution_.examples);
  return contribution_;
}

const Contribution& Expectation::local_step(const CompactParameters& parameters, const MiniBatch& batch) {
  model_->gradient(batch, parameters, contribution_);
  return contribution_;
}

}  // namespace virga
