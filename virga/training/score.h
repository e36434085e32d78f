#pragma once

#include <memory>
#include <span>
#include <vector>

#include "virga/batch/row_group.h"
#include "virga/model/model.h"
#include "virga/training/metrics.h"
#include "virga/training/model_file.h"

namespace virga {

/// How a model of that kind is judged.
[[nodiscard]] LossKind loss_kind(ModelKind kind) noexcept;
/// The scores of a model, on several threads at once.
class Scorer {
 public:
  /// `model` is borrowed.
  Scorer(const ModelFile& model, unsigned threads);
  ~Scorer();

  /// [rows x outputs], on one of the threads 0 ... threads - 1, which keeps them until it calls again.
  [[nodiscard]] std::span<const float> scores(unsigned thread, const RowGroup& group);

 private:
  struct Thread {
    std::unique_ptr<Model> model;
    std::vector<float> scores;
  };
  const ModelFile& model_;
  std::vector<Thread> threads_;
};

}  // namespace virga
