#include "virga/training/split_loss.h"

#include <memory>
#include <mutex>
#include <vector>

#include "virga/base/error.h"
#include "virga/data/loader.h"

namespace virga {
namespace {

/// Models are for one thread each: hands them out and takes them back.
class ModelPool {
 public:
  /// `parameters` are borrowed.
  ModelPool(const ModelSpec& spec, const Tables& parameters, const Kernels& kernels)
      : spec_(spec), parameters_(parameters), kernels_(kernels) {}

  [[nodiscard]] LossSums losses(const RowGroup& group) {
    auto model = take();
    const auto sums = model->losses(group, parameters_);
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(model));
    return sums;
  }

 private:
  std::unique_ptr<Model> take() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) {
      auto model = make_model(spec_, kernels_);
      model->prepare(parameters_);
      return model;
    }
    auto model = std::move(idle_.back());
    idle_.pop_back();
    return model;
  }

  const ModelSpec& spec_;
  const Tables& parameters_;
  const Kernels& kernels_;
  std::mutex mutex_;  // guards idle_
  std::vector<std::unique_ptr<Model>> idle_;
};

}  // namespace

double mean_loss(const LossSums& losses) {
  if (!(losses.weight > 0)) {
    throw Error(ErrorKind::kBadData, "the rows of the validation split have no weight at all",
                "give them weights above 0");
  }
  return losses.loss / losses.weight;
}

double split_loss(GroupCache& cache, SplitName split, const ModelSpec& model, const Tables& parameters,
                  const Kernels& kernels, unsigned threads) {
  std::size_t groups = 0;
  for (const auto& block : split_of(cache.manifest(), split).blocks) groups += block.group_bytes.size();
  std::vector<LossSums> parts(groups);
  ModelPool pool(model, parameters, kernels);
  for_each_group(cache, split, threads,
                 [&](std::size_t index, const RowGroupPtr& group) { parts[index] = pool.losses(*group); });
  LossSums sums;
  for (const auto& part : parts) {
    sums.loss += part.loss;
    sums.weight += part.weight;
  }
  return mean_loss(sums);
}

}  // namespace virga
