#include "virga/training/evaluate.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/training/ordered_parallel.h"
#include "virga/training/score.h"

namespace virga {
namespace {

std::uint32_t metric_classes(const ModelFile& model) noexcept {
  return model.encoding.task == Task::kRegression ? 0 : model.spec.classes;
}

/// Of a model of clusters.
ClusterScale cluster_scale(const ModelFile& model) {
  const auto& spec = model.spec;
  ClusterScale scale{
      .loss = loss_kind(spec.kind), .clusters = spec.clusters, .features = spec.features, .reg_covar = spec.reg_covar};
  if (!spec.dense) return scale;
  const auto& centres = model.parameters.values[0];
  for (std::size_t f = 0; f < spec.features; ++f) scale.origin.push_back(centres[f * spec.clusters]);
  return scale;
}

Metrics metrics_of(const ModelFile& model, const ClusterScale& scale) {
  if (has_clusters(model.spec.kind)) return Metrics(scale);
  return {loss_kind(model.spec.kind), metric_classes(model)};
}

MetricsPart score_group(const ModelFile& model, const ClusterScale& scale, Scorer& scorer, unsigned thread,
                        const RowGroup& group, std::span<const float> labels) {
  if (has_clusters(model.spec.kind)) return cluster_part(scale, scorer.scores(thread, group), group);
  return metrics_part(loss_kind(model.spec.kind), metric_classes(model), scorer.scores(thread, group), labels,
                      group.weights);
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

/// The first thing in which rows that were encoded by `set` differ from those that `model` knows; empty if none.
std::string difference(const Encoding& model, const Encoding& set) {
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

}  // namespace

Manifest manifest_for(const ModelFile& model, Manifest set, std::string_view set_name) {
  auto known = model.encoding;
  if (!has_labels(model.spec)) {
    known.task = set.encoding.task;
    known.classes = set.encoding.classes;
  }
  const auto what = difference(known, set.encoding);
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

Evaluation evaluate(const ModelFile& model, const GroupStream& next, unsigned threads) {
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
        return score_group(model, scale, scorer, thread, *group, group->labels);
      },
      [&](const MetricsPart& part) { metrics.add(part); });
  return metrics.finish();
}

Evaluation evaluate(const ModelFile& model, GroupCache& cache, SplitName split, unsigned threads) {
  Scorer scorer(model, threads);
  const auto scale = has_clusters(model.spec.kind) ? cluster_scale(model) : ClusterScale();
  auto metrics = metrics_of(model, scale);
  const auto map = has_labels(model.spec) ? class_map(model.encoding, cache.manifest().encoding) : std::vector<float>();
  const auto runs = cache.runs(split);
  ordered_parallel(
      threads,
      [&, i = std::size_t{0}]() mutable -> std::optional<GroupRun> {
        return i < runs.size() ? std::optional(runs[i++]) : std::nullopt;
      },
      [&](unsigned thread, const GroupRun& run) {
        std::vector<MetricsPart> parts;
        for (auto number = run.first; number < run.last; ++number) {
          const auto group = cache.get({.split = split, .block = run.block, .group = number});
          auto labels = group->labels;
          if (!map.empty())
            std::ranges::transform(labels, labels.begin(), [&](float c) { return map[static_cast<std::size_t>(c)]; });
          parts.push_back(score_group(model, scale, scorer, thread, *group, labels));
        }
        return parts;
      },
      [&](const std::vector<MetricsPart>& parts) {
        for (const auto& part : parts) metrics.add(part);
      });
  return metrics.finish();
}

}  // namespace virga
