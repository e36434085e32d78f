#include "virga/training/algorithm.h"

namespace virga {

const Contribution& GradientAveraging::local_step(const CompactParameters& parameters, const MiniBatch& batch) {
  model_->gradient(batch, parameters, contribution_);
  return contribution_;
}

}  // namespace virga
