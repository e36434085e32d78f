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
  ModelPool(const ModelSpec& spec, const Kernels& kernels) : spec_(spec), kernels_(kernels) {}

  [[nodiscard]] LossSums losses(const RowGroup& group, const Tables& parameters) {
    auto model = take();
    const auto sums = model->losses(group, parameters);
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(model));
    return sums;
  }

 private:
  std::unique_ptr<Model> take() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return make_model(spec_, kernels_);
    auto model = std::move(idle_.back());
    idle_.pop_back();
    return model;
  }

  const ModelSpec& spec_;
  const Kernels& kernels_;
  std::mutex mutex_;  // guards idle_
  std::vector<std::unique_ptr<Model>> idle_;
};

}  // namespace

double split_loss(GroupCache& cache, SplitName split, const ModelSpec& model, const Tables& parameters,
                  const Kernels& kernels, unsigned threads) {
  std::size_t groups = 0;
  for (const auto& block : split_of(cache.manifest(), split).blocks) groups += block.group_bytes.size();
  std::vector<LossSums> parts(groups);
  ModelPool pool(model, kernels);
  for_each_group(cache, split, threads,
                 [&](std::size_t index, const RowGroupPtr& group) { parts[index] = pool.losses(*group, parameters); });
  double loss = 0;
  double weight = 0;
  for (const auto& part : parts) {
    loss += part.loss;
    weight += part.weight;
  }
  if (!(weight > 0)) {
    throw Error(ErrorKind::kBadData, "the rows of the validation split have no weight at all",
                "give them weights above 0");
  }
  return loss / weight;
}

}  // namespace virga
