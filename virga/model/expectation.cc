#include "virga/model/expectation.h"

#include "virga/base/error.h"
#include "virga/model/gaussian_mixture.h"
#include "virga/model/kmeans.h"

namespace virga {

Layout statistics_layout(const ModelSpec& spec) {
  check(has_clusters(spec.kind), "the model is trained by expectation maximisation");
  return spec.kind == ModelKind::kKMeans ? cluster_statistics(spec) : mixture_statistics(spec);
}

bool maximise(const ModelSpec& spec, std::span<const std::vector<double>> statistics, std::uint64_t seed,
              std::uint32_t epoch, Tables& parameters) {
  check(has_clusters(spec.kind), "the model is trained by expectation maximisation");
  return spec.kind == ModelKind::kKMeans ? move_centres(spec, statistics, seed, epoch, parameters.values[0])
                                         : move_components(spec, statistics, seed, epoch, parameters);
}

}  // namespace virga
