#include "virga/training/warm_start.h"

#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/training/evaluate.h"

namespace virga {
namespace {

double at(const std::vector<float>& values, std::size_t feature, double otherwise) {
  if (values.empty()) return otherwise;
  return double{values.size() == 1 ? values.front() : values[feature]};
}

/// The weights for (x - offset) factor in place of (x - old offset) old factor; what the offsets contribute to each row
/// goes into the biases.
void convert(Tables& parameters, std::size_t outputs, const Encoding& from, const Encoding& to) {
  auto& weights = parameters.values[0];
  std::vector<double> moved(outputs);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const auto feature = i / outputs;
    const double raw = double{weights[i]} * at(from.scale_factor, feature, 1);
    weights[i] = static_cast<float>(raw / at(to.scale_factor, feature, 1));
    moved[i % outputs] += raw * (at(to.scale_offset, feature, 0) - at(from.scale_offset, feature, 0));
  }
  if (parameters.values.size() < 2) return;
  auto& biases = parameters.values[1];
  for (std::size_t c = 0; c < outputs; ++c) biases[c] = static_cast<float>(double{biases[c]} + moved[c]);
}

/// Can a bias make up for other offsets? Where each row has the features concerned: dense ones, and numbers of a table.
bool moves_by_bias(const Encoding& from, const Encoding& to) {
  if (to.dense) return true;
  std::vector<bool> in_each_row(to.features);
  for (const auto& column : to.columns) {
    if (column.kind == ColumnEncoding::Kind::kNumeric) in_each_row[column.first_feature] = true;
  }
  for (std::size_t f = 0; f < to.features; ++f) {
    if (!in_each_row[f] && at(from.scale_offset, f, 0) != at(to.scale_offset, f, 0)) return false;
  }
  return true;
}

}  // namespace

Tables warm_start(ModelFile model, const ModelSpec& spec, const Encoding& encoding, std::string_view name) {
  const auto refuse = [&](const std::string& difference, const char* remedy) {
    throw Error(ErrorKind::kUsage, fmt::format("cannot start from {}: {}", name, difference), remedy);
  };
  constexpr auto kSameColumns = "start from a model of the same kind on the same columns, or without --init-model";
  if (model.spec.kind != spec.kind) {
    refuse(fmt::format("it is a model of kind {}, the job's is {}", to_string(model.spec.kind), to_string(spec.kind)),
           "give --model the kind of the model to start from");
  }
  auto known = model.encoding;
  if (known.columns.size() == encoding.columns.size()) {
    for (std::size_t i = 0; i < known.columns.size(); ++i) known.columns[i].mean = encoding.columns[i].mean;
  }
  if (!has_labels(spec)) {
    known.task = encoding.task;
    known.classes = encoding.classes;
  }
  if (const auto what = encoding_difference(known, encoding); !what.empty()) {
    refuse("the job's data do not fit it: " + what, kSameColumns);
  }
  if (known.classes != encoding.classes) refuse("it has other classes", kSameColumns);
  if (model.parameters.layout != layout_of(spec)) {
    refuse(
        "it has another number of features, classes or clusters, or a bias where the job's has none, or none where it "
        "has "
        "one",
        kSameColumns);
  }
  const bool same_offsets = known.scale_offset == encoding.scale_offset;
  if (same_offsets && known.scale_factor == encoding.scale_factor) return std::move(model.parameters);
  const bool movable = same_offsets || (spec.fit_bias && moves_by_bias(known, encoding));
  if (has_clusters(spec.kind) || !movable) {
    refuse("its features are scaled otherwise",
           "import the data with the scaling of the model's data, such as --scale none");
  }
  convert(model.parameters, outputs_of(spec), known, encoding);
  return std::move(model.parameters);
}

}  // namespace virga
