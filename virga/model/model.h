#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "virga/batch/contribution.h"
#include "virga/batch/mini_batch.h"
#include "virga/batch/table.h"
#include "virga/math/kernels.h"
namespace virga {
enum class ModelKind : std::uint8_t { kLogistic, kSvm, kSvmSquared, kSoftmax, kLeastSquares };
struct ModelSpec {
  ModelKind kind = ModelKind::kLogistic;
  std::uint32_t features = 0;
  std::uint32_t classes = 2;
  bool dense = false;
  bool fit_bias = true;
  std::vector<float> class_weights;
  bool operator==(const ModelSpec&) const = default;
};
[[nodiscard]] Layout layout_of(const ModelSpec& spec);
std::string_view to_string(ModelKind kind) noexcept;
struct LossSums {
  double loss = 0;
  double weight = 0;
  std::uint64_t examples = 0;
};
class Model {
 public:
  Model() = default;
  Model(const Model&) = delete;
  virtual ~Model() = default;
  virtual void gradient(const MiniBatch&, const CompactParameters&, Contribution& out) = 0;
  virtual void scores(const RowGroup&, const Tables&, std::span<float> out) = 0;
  virtual LossSums losses(const RowGroup&, const Tables&) = 0;
};
[[nodiscard]] std::unique_ptr<Model> make_model(const ModelSpec&, const Kernels& = kernels(best_simd_level()));
}  // namespace virga
