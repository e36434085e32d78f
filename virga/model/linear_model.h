#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "virga/model/model.h"

namespace virga {

/// All kinds of ModelKind: they share the linear score and differ in the loss of a score. Computes in the index space
/// of each row group (16-bit indices, a few tens of KiB), and directly in the mini-batch's own space where that is the
/// same.
class LinearModel final : public Model {
 public:
  LinearModel(const ModelSpec& spec, const Kernels& kernels);

  void gradient(const MiniBatch& batch, const CompactParameters& parameters, Contribution& out) override;
  void scores(const RowGroup& group, const Tables& parameters, std::span<float> out) override;
  [[nodiscard]] LossSums losses(const RowGroup& group, const Tables& parameters) override;
  [[nodiscard]] LossSums losses_and_scores(const RowGroup& group, const Tables& parameters,
                                           std::span<float> scores_out) override;

 private:
  /// Some rows of a group.
  struct Rows {
    const RowGroup& group;
    std::uint32_t first;
    std::uint32_t last;
    [[nodiscard]] std::uint32_t count() const noexcept { return last - first; }
  };

  void start(const MiniBatch& batch, Contribution& out) const;
  void add_slice(const BatchSlice& slice, const CompactParameters& parameters, Contribution& out);
  const float* localise(const BatchSlice& slice, const std::vector<float>& weights);
  const float* localise(const RowGroup& group, const std::vector<float>& weights);
  void set_bias(const std::vector<float>& bias);
  void add_bias_gradient(std::uint32_t rows, std::vector<float>& gradient);

  float* forward_all(const RowGroup& group, const Tables& parameters);
  void copy_scores(const RowGroup& group, const float* scores, std::span<float> out) const;
  void forward(const Rows& rows, const float* weights, float* scores) const;
  void backward(const Rows& rows, const float* residuals, float* gradient) const;
  LossSums loss_and_residuals(const Rows& rows, float* scores);
  const float* example_weights(const Rows& rows);
  void check_labels(const Rows& rows) const;

  ModelSpec spec_;
  const Kernels& kernels_;
  std::uint32_t outputs_;
  std::uint32_t lanes_;  // outputs_ padded: 1 or a multiple of 16

  // Scratch.
  std::vector<float> local_weights_;   // [local keys or columns x lanes_]
  std::vector<float> local_gradient_;  // the same
  std::vector<float> bias_;            // [lanes_]; 0 if there is none
  std::vector<float> scores_;          // [rows x lanes_]; scores, then residuals
  std::vector<float> weights_;         // [rows]
};

}  // namespace virga
