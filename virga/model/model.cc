#include "virga/model/model.h"

#include "virga/base/error.h"
#include "virga/model/gaussian_mixture.h"
#include "virga/model/kmeans.h"
#include "virga/model/linear_model.h"

namespace virga {

std::string_view to_string(ModelKind kind) noexcept {
  switch (kind) {
    case ModelKind::kLogistic:
      return "logistic";
    case ModelKind::kSvm:
      return "svm";
    case ModelKind::kSvmSquared:
      return "svm-squared";
    case ModelKind::kSoftmax:
      return "softmax";
    case ModelKind::kLeastSquares:
      return "least-squares";
    case ModelKind::kKMeans:
      return "kmeans";
    case ModelKind::kGaussianMixture:
      return "gaussian-mixture";
  }
  return "";
}

std::string_view to_string(CovarianceKind kind) noexcept { return kind == CovarianceKind::kFull ? "full" : "diagonal"; }

std::uint32_t outputs_of(const ModelSpec& spec) noexcept {
  switch (spec.kind) {
    case ModelKind::kSoftmax:
      return spec.classes;
    case ModelKind::kKMeans:
      return spec.clusters;
    case ModelKind::kGaussianMixture:
      return spec.clusters + 1;
    default:
      return 1;
  }
}

Layout layout_of(const ModelSpec& spec) {
  const std::uint32_t outputs = outputs_of(spec);
  if (spec.kind == ModelKind::kKMeans) {
    return {{.name = "centres", .rows = spec.features, .width = outputs, .regularised = false, .sparse = false}};
  }
  if (spec.kind == ModelKind::kGaussianMixture) return mixture_parameters(spec);
  Layout layout = {
      {.name = "weights", .rows = spec.features, .width = outputs, .regularised = true, .sparse = !spec.dense}};
  if (spec.fit_bias) {
    layout.push_back({.name = "bias", .rows = 1, .width = outputs, .regularised = false, .sparse = false});
  }
  return layout;
}

std::unique_ptr<Model> make_model(const ModelSpec& spec, const Kernels& kernels) {
  if (!spec.class_weights.empty()) {
    if (spec.kind == ModelKind::kLeastSquares) {
      throw Error(ErrorKind::kUsage, "class weights were given for least squares, which has no classes",
                  "leave out model.class_weight or choose a classifier");
    }
    if (spec.class_weights.size() != spec.classes) {
      throw Error(ErrorKind::kUsage,
                  std::to_string(spec.class_weights.size()) + " class weights were given for " +
                      std::to_string(spec.classes) + " classes",
                  "give one weight for each class, or 'balanced'");
    }
  }
  if (spec.kind == ModelKind::kKMeans) return std::make_unique<KMeans>(spec, kernels);
  if (spec.kind == ModelKind::kGaussianMixture) return std::make_unique<GaussianMixture>(spec, kernels);
  return std::make_unique<LinearModel>(spec, kernels);
}

}  // namespace virga
