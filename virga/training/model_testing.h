#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "virga/base/random.h"
#include "virga/training/model_file.h"

namespace virga {

/// Models for tests.

/// Fills all parameters with random numbers in [-1, 1).
inline void fill_parameters(ModelFile& model, std::uint64_t seed) {
  const Random random(seed, Purpose::kTest);
  model.parameters = Tables(layout_of(model.spec));
  std::uint64_t item = 0;
  for (auto& table : model.parameters.values) {
    for (auto& value : table) value = static_cast<float>(random.uniform(0, item++) * 2 - 1);
  }
}

/// A model of rows in LIBSVM form with scaled features; `classes` is 0 for least squares.
inline ModelFile libsvm_model(ModelKind kind, std::uint32_t features, std::vector<std::string> classes) {
  ModelFile model;
  model.spec.kind = kind;
  model.spec.features = features;
  model.encoding.task = classes.empty() ? Task::kRegression : classes.size() == 2 ? Task::kBinary : Task::kMulticlass;
  model.spec.classes = static_cast<std::uint32_t>(classes.size());
  model.encoding.features = features;
  model.encoding.classes = std::move(classes);
  model.encoding.scale = ScaleKind::kMaxAbs;
  for (std::uint32_t i = 0; i < features; ++i) model.encoding.scale_factor.push_back(1.0F / static_cast<float>(i + 1));
  model.created_by = "virga test";
  fill_parameters(model, features);
  return model;
}

/// A mixture of rows in LIBSVM form.
inline ModelFile mixture_model(std::uint32_t features, std::uint32_t clusters, CovarianceKind covariance) {
  auto model = libsvm_model(ModelKind::kLogistic, features, {"-1", "1"});
  model.spec = {.kind = ModelKind::kGaussianMixture,
                .features = features,
                .classes = 0,
                .dense = covariance == CovarianceKind::kFull,
                .fit_bias = false,
                .clusters = clusters,
                .covariance = covariance,
                .reg_covar = 1e-6};
  model.encoding.dense = model.spec.dense;
  fill_parameters(model, features);
  auto& covariances = model.parameters.values[1];
  if (covariance == CovarianceKind::kDiagonal) {
    for (auto& variance : covariances) variance += 1.5F;
  } else {
    for (std::size_t c = 0, at = 0; c < clusters; ++c) {
      for (std::size_t f = 0; f < features; ++f) {
        at += f + 1;
        covariances[at - 1] += 1.5F;
      }
    }
  }
  for (auto& share : model.parameters.values[2]) share = 1 / static_cast<float>(clusters);
  return model;
}

/// A binary model of a CSV file: label,age (numeric, may be missing),city (categorical),note (ignored),code (hashed).
inline ModelFile csv_model() {
  using Kind = ColumnEncoding::Kind;
  ModelFile model;
  model.encoding = {.format = SourceFormat::kCsv,
                    .task = Task::kBinary,
                    .features = 14,
                    .classes = {"no", "yes, \"maybe\""},
                    .missing = MissingPolicy::kIndicator,
                    .columns = {{.name = "label", .kind = Kind::kLabel},
                                {.name = "age", .kind = Kind::kNumeric, .features = 2, .has_missing = true, .mean = 40},
                                {.name = "city",
                                 .kind = Kind::kCategorical,
                                 .first_feature = 2,
                                 .features = 4,
                                 .levels = {"Berlin", "Lima, \"Peru\"", "S\xC3\xA3o Paulo"}},
                                {.name = "note"},
                                {.name = "code", .kind = Kind::kHashed, .first_feature = 6, .features = 8}},
                    .scale = ScaleKind::kStandardise,
                    .scale_offset = std::vector<float>(14),
                    .scale_factor = std::vector<float>(14, 1)};
  model.encoding.scale_offset[0] = 38.5F;
  model.encoding.scale_factor[0] = 0.0625F;
  model.spec.features = 14;
  model.spec.classes = 2;
  model.created_by = "virga test";
  fill_parameters(model, 14);
  return model;
}

}  // namespace virga
