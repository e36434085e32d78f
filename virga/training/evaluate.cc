#include "virga/training/evaluate.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/training/ordered_parallel.h"
#include "virga/training/split_loss.h"

namespace virga {
namespace {

std::uint32_t metric_classes(const ModelView& model) noexcept {
  return model.encoding.task == Task::kRegression ? 0 : model.spec.classes;
}

/// Of a model of clusters.
ClusterScale cluster_scale(const ModelView& model) {
  const auto& spec = model.spec;
  ClusterScale scale{
      .loss = loss_kind(spec.kind), .clusters = spec.clusters, .features = spec.features, .reg_covar = spec.reg_covar};
  if (!spec.dense) return scale;
  const auto& centres = model.parameters.values[0];
  for (std::size_t f = 0; f < spec.features; ++f) scale.origin.push_back(centres[f * spec.clusters]);
  return scale;
}

Metrics metrics_of(const ModelView& model, const ClusterScale& scale) {
  if (has_clusters(model.spec.kind)) return Metrics(scale);
  return {loss_kind(model.spec.kind), metric_classes(model)};
}

MetricsPart part_of(const ModelView& model, const ClusterScale& scale, const RowGroup& group,
                    std::span<const float> scores, std::span<const float> labels) {
  if (has_clusters(model.spec.kind)) return cluster_part(scale, scores, group);
  return metrics_part(loss_kind(model.spec.kind), metric_classes(model), scores, labels, group.weights);
}

/// labels[c] = the model's number for the set's class c; empty if they agree.
std::vector<float> class_map(const Encoding& model, const Encoding& set) {
  if (model.classes == set.classes) return {};
  std::vector<float> map;
  for (const auto& name : set.classes) {
    map.push_back(static_cast<float>(std::ranges::find(model.classes, name) - model.classes.begin()));
  }
  return map;
}

}  // namespace

std::string encoding_difference(const Encoding& model, const Encoding& set) {
  if (set.format != model.format) {
    return fmt::format("it was read from {}, the model's data from {}", to_string(set.format), to_string(model.format));
  }
  if ((set.task == Task::kRegression) != (model.task == Task::kRegression)) {
    return fmt::format("its labels are for {}, the model is for {}", to_string(set.task), to_string(model.task));
  }
  if (set.dense != model.dense) return fmt::format("its rows are {}", set.dense ? "dense" : "sparse");
  const bool fewer_are_fine = model.format == SourceFormat::kLibsvm && !model.dense;
  if (set.features > model.features || (set.features < model.features && !fewer_are_fine)) {
    return fmt::format("it has {} features, the model {}", set.features, model.features);
  }
  if (model.format == SourceFormat::kLibsvm && set.one_based != model.one_based) {
    return fmt::format("its feature numbers start at {}, the model's at {}", set.one_based ? 1 : 0,
                       model.one_based ? 1 : 0);
  }
  if (set.image_shape != model.image_shape) return "its images have another shape";
  if (set.missing != model.missing) {
    return fmt::format("missing values are treated as '{}', by the model as '{}'", to_string(set.missing),
                       to_string(model.missing));
  }
  if (set.columns.size() != model.columns.size()) {
    return fmt::format("it has {} columns, the model's data {}", set.columns.size(), model.columns.size());
  }
  for (std::size_t i = 0; i < set.columns.size(); ++i) {
    if (set.columns[i] == model.columns[i]) continue;
    if (set.columns[i].name != model.columns[i].name) {
      return fmt::format("column {} is '{}', in the model's data '{}'", i + 1, set.columns[i].name,
                         model.columns[i].name);
    }
    return fmt::format("column '{}' was encoded otherwise (type, levels or mean)", set.columns[i].name);
  }
  if (set.features == model.features && set.feature_names != model.feature_names)
    return "its features have other names";
  for (const auto& name : set.classes) {
    if (std::ranges::find(model.classes, name) == model.classes.end()) {
      return fmt::format("the model does not know its class '{}'", name);
    }
  }
  return {};
}

Manifest manifest_for(const ModelFile& model, Manifest set, std::string_view set_name) {
  auto known = model.encoding;
  if (!has_labels(model.spec)) {
    known.task = set.encoding.task;
    known.classes = set.encoding.classes;
  }
  const auto what = encoding_difference(known, set.encoding);
  if (!what.empty()) {
    throw Error(ErrorKind::kUsage, fmt::format("the imported set {} does not fit the model: {}", set_name, what),
                "evaluate on the raw file: it is then encoded as the model's own data was");
  }
  auto classes = std::move(set.encoding.classes);
  set.encoding = model.encoding;
  set.encoding.classes = std::move(classes);
  return set;
}

GroupStream groups_of(RawReader& reader) {
  return [&reader]() -> RowGroupPtr {
    auto group = reader.next();
    return group ? std::make_shared<const RowGroup>(*std::move(group)) : nullptr;
  };
}

Evaluation evaluate(const ModelView& model, const GroupStream& next, unsigned threads) {
  Scorer scorer(model, threads);
  const auto scale = has_clusters(model.spec.kind) ? cluster_scale(model) : ClusterScale();
  auto metrics = metrics_of(model, scale);
  ordered_parallel(
      threads,
      [&]() -> std::optional<RowGroupPtr> {
        auto group = next();
        if (!group) return std::nullopt;
        return group;
      },
      [&](unsigned thread, const RowGroupPtr& group) {
        return part_of(model, scale, *group, scorer.scores(thread, *group), group->labels);
      },
      [&](const MetricsPart& part) { metrics.add(part); });
  return metrics.finish();
}

namespace {

/// Calls score(thread, group, labels) for the groups of a split, on `threads` threads, with labels that are numbers of
/// the model's classes, and takes what it returns in the order of the groups.
template <typename Score, typename Take>
void for_each_scored(const ModelView& model, GroupCache& cache, SplitName split, unsigned threads, const Score& score,
                     const Take& take) {
  using Part = std::invoke_result_t<Score, unsigned, const RowGroup&, std::span<const float>>;
  const auto map = has_labels(model.spec) ? class_map(model.encoding, cache.manifest().encoding) : std::vector<float>();
  const auto runs = cache.runs(split);
  ordered_parallel(
      threads,
      [&, i = std::size_t{0}]() mutable -> std::optional<GroupRun> {
        return i < runs.size() ? std::optional(runs[i++]) : std::nullopt;
      },
      [&](unsigned thread, const GroupRun& run) {
        std::vector<Part> parts;
        for (auto number = run.first; number < run.last; ++number) {
          const auto group = cache.get({.split = split, .block = run.block, .group = number});
          auto labels = group->labels;
          if (!map.empty())
            std::ranges::transform(labels, labels.begin(), [&](float c) { return map[static_cast<std::size_t>(c)]; });
          parts.push_back(score(thread, *group, labels));
        }
        return parts;
      },
      [&](std::vector<Part> parts) {
        for (auto& part : parts) take(part);
      });
}

}  // namespace

Evaluation evaluate(const ModelView& model, GroupCache& cache, SplitName split, unsigned threads) {
  Scorer scorer(model, threads);
  const auto scale = has_clusters(model.spec.kind) ? cluster_scale(model) : ClusterScale();
  auto metrics = metrics_of(model, scale);
  for_each_scored(
      model, cache, split, threads,
      [&](unsigned thread, const RowGroup& group, std::span<const float> labels) {
        return part_of(model, scale, group, scorer.scores(thread, group), labels);
      },
      [&](const MetricsPart& part) { metrics.add(part); });
  return metrics.finish();
}

ScoredSplit score_split(const ModelView& model, GroupCache& cache, SplitName split, const Kernels& kernels,
                        unsigned threads) {
  constexpr std::uint64_t kMostBytes = std::uint64_t{16} << 20;
  const auto row_bytes = sizeof(float) * (std::uint64_t{outputs_of(model.spec)} + 2);
  if (has_clusters(model.spec.kind) || split_of(cache.manifest(), split).rows > kMostBytes / row_bytes) {
    return {split_loss(cache, split, model.spec, model.parameters, kernels, threads), {}};
  }
  struct Part {
    LossSums losses;
    ScoredGroup group;
  };
  Scorer scorer(model, threads, kernels);
  LossSums sums;
  ScoredSplit result;
  for_each_scored(
      model, cache, split, threads,
      [&](unsigned thread, const RowGroup& group, std::span<const float> labels) {
        Part part;
        const auto scores = scorer.scores(thread, group, part.losses);
        part.group = {{scores.begin(), scores.end()}, {labels.begin(), labels.end()}, group.weights};
        return part;
      },
      [&](Part& part) {
        sums.loss += part.losses.loss;
        sums.weight += part.losses.weight;
        result.groups.push_back(std::move(part.group));
      });
  result.loss = mean_loss(sums);
  return result;
}

Evaluation evaluate(const ModelView& model, std::span<const ScoredGroup> groups, unsigned threads) {
  check(!has_clusters(model.spec.kind), "rows in clusters are judged by themselves");
  const auto loss = loss_kind(model.spec.kind);
  Metrics metrics(loss, metric_classes(model));
  ordered_parallel(
      threads,
      [&, i = std::size_t{0}]() mutable { return i < groups.size() ? std::optional(&groups[i++]) : std::nullopt; },
      [&](unsigned, const ScoredGroup* group) {
        return metrics_part(loss, metric_classes(model), group->scores, group->labels, group->weights);
      },
      [&](const MetricsPart& part) { metrics.add(part); });
  return metrics.finish();
}

}  // namespace virga
