#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/base/units.h"
#include "virga/cli/inspect.h"
#include "virga/cli/table.h"
#include "virga/data/escape.h"
#include "virga/training/model_file.h"

namespace virga {
namespace {

using nlohmann::json;

struct Weight {
  std::uint32_t feature = 0;
  std::uint32_t output = 0;
  float value = 0;
};

const std::vector<float>& weights_of(const ModelFile& model, std::string_view table) {
  static const std::vector<float> kNone;
  for (std::size_t t = 0; t < model.parameters.layout.size(); ++t) {
    if (model.parameters.layout[t].name == table) return model.parameters.values[t];
  }
  return kNone;
}

bool is_clusters(const ModelFile& model) { return has_clusters(model.spec.kind); }
bool is_mixture(const ModelFile& model) { return model.spec.kind == ModelKind::kGaussianMixture; }

/// The table of what belongs to features.
std::string_view main_table(const ModelFile& model) {
  return is_mixture(model) ? "means" : is_clusters(model) ? "centres" : "weights";
}

/// The largest magnitudes, the largest first; of equal ones the lower feature.
std::vector<Weight> largest_weights(const ModelFile& model, std::size_t count) {
  const auto& values = weights_of(model, main_table(model));
  const auto width = is_clusters(model) ? model.spec.clusters : outputs_of(model.spec);
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (values[i] != 0) order.push_back(i);
  }
  const auto kept = order.begin() + static_cast<std::ptrdiff_t>(std::min(count, order.size()));
  std::partial_sort(order.begin(), kept, order.end(), [&](std::size_t a, std::size_t b) {
    return std::abs(values[a]) != std::abs(values[b]) ? std::abs(values[a]) > std::abs(values[b]) : a < b;
  });
  std::vector<Weight> weights;
  for (auto at = order.begin(); at != kept; ++at) {
    weights.push_back({static_cast<std::uint32_t>(*at / width), static_cast<std::uint32_t>(*at % width), values[*at]});
  }
  return weights;
}

json or_null(const std::optional<double>& number) {
  return number && std::isfinite(*number) ? json(*number) : json(nullptr);
}

/// The class (or cluster) that an output stands for; a single output speaks for the second class.
std::string class_of(const ModelFile& model, std::uint32_t output) {
  if (is_clusters(model)) return std::to_string(output);
  const auto& classes = model.encoding.classes;
  if (classes.empty()) return {};
  return escape_text(outputs_of(model.spec) == 1 ? classes.back() : classes[output]);
}

json model_json(const ModelFile& model, std::size_t top) {
  const auto& training = model.training;
  const auto& weights = weights_of(model, main_table(model));
  json document{
      {"kind", "model"},
      {"model", to_string(model.spec.kind)},
      {"features", model.spec.features},
      {"dense", model.spec.dense},
      {"fit_bias", model.spec.fit_bias},
      {"format", to_string(model.encoding.format)},
      {"task", to_string(model.encoding.task)},
      {"scale", to_string(model.encoding.scale)},
      {"created_by", model.created_by},
      {"nonzero_weights", std::ranges::count_if(weights, [](float w) { return w != 0; })},
      {"bias", weights_of(model, "bias")},
      {"training",
       {{"seed", training.seed},
        {"epochs", training.epochs},
        {"rounds", training.rounds},
        {"best_epoch", training.best_epoch},
        {"learning_rate", or_null(training.learning_rate)},
        {"l1", training.l1},
        {"l2", training.l2},
        {"training_loss", or_null(training.training_loss)},
        {"validation_loss", or_null(training.validation_loss)}}},
      {"data", {{"uri", escape_text(model.data.uri)}, {"checksum", fmt::format("{:08x}", model.data.checksum)}}}};
  if (is_clusters(model)) document["clusters"] = model.spec.clusters;
  if (is_mixture(model)) {
    document["covariance"] = to_string(model.spec.covariance);
    document["reg_covar"] = model.spec.reg_covar;
    document["mixing"] = weights_of(model, "mixing");
  }
  document["classes"] = json::array();
  for (const auto& name : model.encoding.classes) document["classes"].push_back(escape_text(name));
  document["largest_weights"] = json::array();
  for (const auto& weight : largest_weights(model, top)) {
    const auto name = class_of(model, weight.output);
    document["largest_weights"].push_back({{"feature", weight.feature},
                                           {"name", escape_text(feature_name(model.encoding, weight.feature))},
                                           {"class", name.empty() ? json(nullptr) : json(name)},
                                           {"weight", weight.value}});
  }
  return document;
}

std::string summary_text(const std::string& path, const ModelFile& model) {
  const auto& training = model.training;
  auto text =
      fmt::format("Model {}: {} from {} rows, {} features, scale {}\n", path, to_string(model.spec.kind),
                  to_string(model.encoding.format), format_count(model.spec.features), to_string(model.encoding.scale));
  if (is_clusters(model)) {
    text += fmt::format("  clusters    {}{}\n", format_count(model.spec.clusters),
                        is_mixture(model) ? fmt::format(", {} covariances (reg_covar {:g})",
                                                        to_string(model.spec.covariance), model.spec.reg_covar)
                                          : "");
  }
  std::string classes;
  const auto shown = is_clusters(model) ? 0 : std::min<std::size_t>(model.encoding.classes.size(), 20);
  for (std::size_t c = 0; c < shown; ++c) {
    classes += (c == 0 ? "" : ", ") + escape_text(model.encoding.classes[c]);
  }
  if (!classes.empty()) {
    text += fmt::format("  classes     {}{}\n", classes, model.encoding.classes.size() > 20 ? ", ..." : "");
  }
  text += fmt::format("  trained on  {} (checksum {:08x})\n", escape_text(model.data.uri), model.data.checksum);
  text += fmt::format("  training    epoch {} of {} is kept, {} rounds{}, seed {}\n", training.best_epoch,
                      training.epochs, format_count(training.rounds),
                      is_clusters(model) ? ""
                                         : fmt::format(", learning rate {:g}, l1 {:g}, l2 {:g}", training.learning_rate,
                                                       training.l1, training.l2),
                      training.seed);
  const auto loss = [&](const char* name, const std::optional<double>& value) {
    if (value) text += fmt::format("  {:<11} {:.5f}\n", name, *value);
  };
  loss("train loss", training.training_loss);
  loss("validation", training.validation_loss);
  text += fmt::format("  written by  {}\n", model.created_by);
  return text;
}

}  // namespace

std::string feature_name(const Encoding& encoding, std::uint32_t feature) {
  if (!encoding.feature_names.empty()) return encoding.feature_names[feature];
  if (encoding.format == SourceFormat::kIdx && encoding.image_shape.size() == 2 && encoding.image_shape[1] > 0) {
    return fmt::format("pixel ({}, {})", feature / encoding.image_shape[1], feature % encoding.image_shape[1]);
  }
  for (const auto& column : encoding.columns) {
    if (feature < column.first_feature || feature - column.first_feature >= column.features) continue;
    const auto within = feature - column.first_feature;
    if (column.kind == ColumnEncoding::Kind::kHashed) return fmt::format("{}#{}", column.name, within);
    if (column.kind == ColumnEncoding::Kind::kNumeric) return within == 0 ? column.name : column.name + " is missing";
    return column.name + (within < column.levels.size() ? "=" + column.levels[within] : " unseen");
  }
  return std::to_string(feature + (encoding.one_based ? 1U : 0U));
}

void inspect_model(const std::string& path, std::size_t top, Session& session) {
  const auto model = read_model_file(path);
  if (session.json()) return session.print_json(model_json(model, top));
  Table table(
      {{is_clusters(model) ? "COORDINATE" : "WEIGHT", true}, {is_clusters(model) ? "CLUSTER" : "CLASS"}, {"FEATURE"}});
  for (const auto& weight : largest_weights(model, top)) {
    const auto name = class_of(model, weight.output);
    table.add({fmt::format("{:.5f}", weight.value), name.empty() ? "-" : name,
               escape_text(feature_name(model.encoding, weight.feature))});
  }
  const auto* const heading = is_clusters(model) ? "\nLargest coordinates of centres, of the scaled features:\n"
                                                 : "\nLargest weights, of the scaled features:\n";
  session.print(summary_text(path, model) + (top > 0 ? heading + table.text() : ""));
}

}  // namespace virga
