#pragma once

#include <memory>
#include <span>
#include <vector>

#include "virga/batch/row_group.h"
#include "virga/math/kernels.h"
#include "virga/model/model.h"
#include "virga/training/metrics.h"
#include "virga/training/model_file.h"

namespace virga {

/// How a model of that kind is judged.
[[nodiscard]] LossKind loss_kind(ModelKind kind) noexcept;

/// What is judged: a model, and how the rows of its data are encoded. All borrowed.
struct ModelView {
  ModelView(const ModelSpec& its_spec, const Tables& its_parameters, const Encoding& its_encoding) noexcept
      : spec(its_spec), parameters(its_parameters), encoding(its_encoding) {}
  ModelView(const ModelFile& file) noexcept  // NOLINT(google-explicit-constructor): a file is more than that
      : ModelView(file.spec, file.parameters, file.encoding) {}

  const ModelSpec& spec;
  const Tables& parameters;
  const Encoding& encoding;
};

/// The scores of a model, on several threads at once.
class Scorer {
 public:
  /// What `model` views is borrowed.
  Scorer(const ModelView& model, unsigned threads, const Kernels& kernels = virga::kernels(best_simd_level()));
  ~Scorer();

  /// [rows x outputs], on one of the threads 0 ... threads - 1, which keeps them until it calls again.
  [[nodiscard]] std::span<const float> scores(unsigned thread, const RowGroup& group);
  /// The same, and `losses` as Model::losses() has them.
  [[nodiscard]] std::span<const float> scores(unsigned thread, const RowGroup& group, LossSums& losses);

 private:
  struct Thread {
    std::unique_ptr<Model> model;
    std::vector<float> scores;
  };
  [[nodiscard]] std::span<float> room(unsigned thread, const RowGroup& group);

  const ModelView model_;
  std::vector<Thread> threads_;
};

}  // namespace virga
