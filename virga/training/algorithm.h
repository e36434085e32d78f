#pragma once

#include <memory>
#include <utility>

#include "virga/batch/contribution.h"
#include "virga/batch/mini_batch.h"
#include "virga/batch/table.h"
#include "virga/model/model.h"

namespace virga {

/// What a worker computes from its share of a mini-batch. One object for each rank; it owns its scratch memory and,
/// where an algorithm has any, its private state.
class Algorithm {
 public:
  Algorithm() = default;
  Algorithm(const Algorithm&) = delete;
  Algorithm& operator=(const Algorithm&) = delete;
  virtual ~Algorithm() = default;

  /// The contribution of `batch` at `parameters` (compact, in the order of batch.keys); a sum, see contribution.h. It
  /// stays valid until the next call.
  [[nodiscard]] virtual const Contribution& local_step(const CompactParameters& parameters, const MiniBatch& batch) = 0;
};

/// Gradient averaging (GA-SGD): the sum of the gradients of the examples' losses. Its weight is the number of examples
/// times `mean_weight`, that of all training rows (class weights included), and not the examples' own total: so each
/// step is an unbiased estimate, see docs/decisions/weights-and-division.md.
class GradientAveraging final : public Algorithm {
 public:
  GradientAveraging(std::unique_ptr<Model> model, double mean_weight)
      : model_(std::move(model)), mean_weight_(mean_weight) {}
  [[nodiscard]] const Contribution& local_step(const CompactParameters& parameters, const MiniBatch& batch) override;

 private:
  std::unique_ptr<Model> model_;
  double mean_weight_;
  Contribution contribution_;
};

/// Expectation maximisation: the sufficient statistics of the examples, as the model sums them.
class Expectation final : public Algorithm {
 public:
  explicit Expectation(std::unique_ptr<Model> model) : model_(std::move(model)) {}
  [[nodiscard]] const Contribution& local_step(const CompactParameters& parameters, const MiniBatch& batch) override;

 private:
  std::unique_ptr<Model> model_;
  Contribution contribution_;
};

}  // namespace virga
