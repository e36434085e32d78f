#include "virga/training/model_file.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/finite.h"
#include "virga/base/hash.h"
#include "virga/data/escape.h"
#include "virga/data/json_fields.h"
#include "virga/storage/object_uri.h"
#include "virga/training/text_tensors.h"

namespace virga {
namespace {

using nlohmann::json;

constexpr std::string_view kFormat = "virga-model";
constexpr std::uint64_t kVersion = 1;
constexpr std::array kKinds = {ModelKind::kLogistic,       ModelKind::kSvm,          ModelKind::kSvmSquared,
                               ModelKind::kSoftmax,        ModelKind::kLeastSquares, ModelKind::kKMeans,
                               ModelKind::kGaussianMixture};

[[noreturn]] void corrupt(std::string_view what, std::string_view reason) {
  throw Error(ErrorKind::kCorrupt, fmt::format("{} is damaged: {}", what, reason),
              "take another copy of the file, or train again");
}

// ---- Writing

json optional_number(const std::optional<double>& number) {
  return number && std::isfinite(*number) ? json(*number) : json(nullptr);
}

json to_json(const ModelSpec& spec) {
  json object = {{"kind", to_string(spec.kind)}, {"features", spec.features}, {"classes", spec.classes},
                 {"dense", spec.dense},          {"fit_bias", spec.fit_bias}, {"class_weights", spec.class_weights}};
  if (has_clusters(spec.kind)) object["clusters"] = spec.clusters;
  if (spec.kind == ModelKind::kGaussianMixture) {
    object["covariance"] = to_string(spec.covariance);
    object["reg_covar"] = spec.reg_covar;
  }
  return object;
}

json to_json(const TrainingSummary& training) {
  return {{"seed", training.seed},
          {"epochs", training.epochs},
          {"rounds", training.rounds},
          {"best_epoch", training.best_epoch},
          {"learning_rate", training.learning_rate},
          {"l1", training.l1},
          {"l2", training.l2},
          {"training_loss", optional_number(training.training_loss)},
          {"validation_loss", optional_number(training.validation_loss)},
          {"final_training_loss", optional_number(training.final_training_loss)},
          {"final_validation_loss", optional_number(training.final_validation_loss)}};
}

json to_json(const TrainingData& data) {
  auto sources = json::array();
  for (const auto& source : data.sources) {
    sources.push_back({{"path", escape_text(source.path)}, {"bytes", source.bytes}, {"crc32c", source.crc32c}});
  }
  return {{"uri", escape_text(data.uri)}, {"checksum", data.checksum}, {"sources", std::move(sources)}};
}

/// The encoding without its lists of texts and its scaling, which are tensors.
json small_part(const Encoding& encoding) {
  auto part = to_json(encoding);
  part.erase("classes");
  return part;
}

void add_floats(Safetensors& content, std::string name, std::vector<std::uint64_t> shape,
                const std::vector<float>& values) {
  content.tensors.push_back({std::move(name), ElementType::kF32, std::move(shape), std::as_bytes(std::span(values))});
}

/// All columns' levels, one column after the other, and where each column's begin.
struct AllLevels {
  std::vector<std::string> levels;
  std::vector<std::int64_t> first = {0};
};

AllLevels all_levels(const Encoding& encoding) {
  AllLevels all;
  for (const auto& column : encoding.columns) {
    all.levels.insert(all.levels.end(), column.levels.begin(), column.levels.end());
    all.first.push_back(static_cast<std::int64_t>(all.levels.size()));
  }
  return all;
}

// ---- Reading

json parse_member(const Safetensors& content, std::string_view name, std::string_view what) {
  const auto found = content.metadata.find(name);
  if (found == content.metadata.end()) corrupt(what, fmt::format("its metadata has no '{}'", name));
  auto value = json::parse(found->second, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) corrupt(what, fmt::format("'{}' in its metadata is not JSON", name));
  return value;
}

void check_format(const Safetensors& content, std::string_view what) {
  const auto format = content.metadata.find("format");
  if (format == content.metadata.end() || format->second != json(kFormat).dump()) {
    throw Error(ErrorKind::kBadData, fmt::format("{} is a safetensors file, but not a model of Virga", what),
                "give a model file that virga train has written");
  }
  const auto version = parse_member(content, "version", what);
  if (!version.is_number_unsigned() || version != kVersion) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("{}: version {} of the model format is not known", what,
                            version.is_number_unsigned() ? version.dump() : "(no number)"),
                "use a newer virga, or train again with this one");
  }
}

ModelSpec read_spec(const json& object, std::string_view what) {
  const auto path = fmt::format("{}: model", what);
  const bool clusters = object.is_object() && object.contains("clusters");
  const bool mixture = clusters && object.contains("covariance");
  const auto fields =
      mixture ? JsonFields(object, path,
                           {"kind", "features", "classes", "dense", "fit_bias", "class_weights", "clusters",
                            "covariance", "reg_covar"})
      : clusters
          ? JsonFields(object, path, {"kind", "features", "classes", "dense", "fit_bias", "class_weights", "clusters"})
          : JsonFields(object, path, {"kind", "features", "classes", "dense", "fit_bias", "class_weights"});
  const auto* kind = std::ranges::find(kKinds, fields.text("kind"), [](ModelKind k) { return to_string(k); });
  if (kind == kKinds.end()) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("{}: models of kind '{}' are not known", what, fields.text("kind")), "use a newer virga");
  }
  ModelSpec spec;
  spec.kind = *kind;
  spec.features = fields.number<std::uint32_t>("features");
  spec.classes = fields.number<std::uint32_t>("classes");
  spec.dense = fields.flag("dense");
  spec.fit_bias = fields.flag("fit_bias");
  if (clusters) spec.clusters = fields.number<std::uint32_t>("clusters");
  if (mixture != (spec.kind == ModelKind::kGaussianMixture))
    corrupt(what, "only mixtures have covariances, and all do");
  if (mixture) {
    const auto covariance = fields.text("covariance");
    if (covariance == to_string(CovarianceKind::kFull)) {
      spec.covariance = CovarianceKind::kFull;
    } else if (covariance != to_string(CovarianceKind::kDiagonal)) {
      throw Error(ErrorKind::kUnsupported, fmt::format("{}: covariances of kind '{}' are not known", what, covariance),
                  "use a newer virga");
    }
    spec.reg_covar = fields.real("reg_covar");
  }
  for (const auto weight : fields.reals("class_weights")) spec.class_weights.push_back(static_cast<float>(weight));
  return spec;
}

std::optional<double> read_optional(const JsonFields& fields, std::string_view name) {
  if (fields.member(name).is_null()) return std::nullopt;
  return fields.real(name);
}

TrainingSummary read_training(const json& object, std::string_view what) {
  const JsonFields fields(object, fmt::format("{}: training", what),
                          {"seed", "epochs", "rounds", "best_epoch", "learning_rate", "l1", "l2", "training_loss",
                           "validation_loss", "final_training_loss", "final_validation_loss"});
  TrainingSummary training;
  training.seed = fields.number<std::uint64_t>("seed");
  training.epochs = fields.number<std::uint32_t>("epochs");
  training.rounds = fields.number<std::uint64_t>("rounds");
  training.best_epoch = fields.number<std::uint32_t>("best_epoch");
  training.learning_rate = fields.real("learning_rate");
  training.l1 = fields.real("l1");
  training.l2 = fields.real("l2");
  training.training_loss = read_optional(fields, "training_loss");
  training.validation_loss = read_optional(fields, "validation_loss");
  training.final_training_loss = read_optional(fields, "final_training_loss");
  training.final_validation_loss = read_optional(fields, "final_validation_loss");
  return training;
}

TrainingData read_data(const json& object, std::string_view what) {
  const JsonFields fields(object, fmt::format("{}: data", what), {"uri", "checksum", "sources"});
  TrainingData data{.uri = fields.text("uri"), .checksum = fields.number<std::uint32_t>("checksum")};
  for (const auto& element : fields.array("sources")) {
    const JsonFields source(element, fmt::format("{}: data.sources", what), {"path", "bytes", "crc32c"});
    data.sources.push_back({.path = source.text("path"),
                            .bytes = source.number<std::uint64_t>("bytes"),
                            .crc32c = source.number<std::uint32_t>("crc32c")});
  }
  return data;
}

/// Takes what it reads out of `unread`, so that tensors which nobody asked for are noticed.
class TensorReader {
 public:
  TensorReader(const Safetensors& content, std::string_view what) : content_(content), what_(what) {
    for (const auto& tensor : content.tensors) unread_.push_back(tensor.name);
  }

  [[nodiscard]] std::vector<float> floats(std::string_view name, const std::vector<std::uint64_t>& shape) {
    const auto& tensor = require_tensor(content_, name, ElementType::kF32, what_);
    if (tensor.shape != shape) {
      throw Error(ErrorKind::kCorrupt, fmt::format("{}: the shape of tensor '{}' is [{}], not [{}]", what_, name,
                                                   fmt::join(tensor.shape, ", "), fmt::join(shape, ", ")));
    }
    std::erase(unread_, name);
    auto values = elements<float>(tensor);
    if (!all_finite(values)) {
      throw Error(ErrorKind::kCorrupt, fmt::format("{}: tensor '{}' has values that are not finite", what_, name));
    }
    return values;
  }
  /// One number, or one for each feature; empty if it is not there.
  [[nodiscard]] std::vector<float> scaling(std::string_view name) {
    const auto* tensor = content_.find(name);
    return tensor == nullptr ? std::vector<float>() : floats(name, {tensor->data.size() / sizeof(float)});
  }
  [[nodiscard]] std::vector<std::string> texts(const std::string& name) {
    std::erase(unread_, name + ".text");
    std::erase(unread_, name + ".offsets");
    return read_texts(content_, name, what_);
  }
  void levels(std::vector<ColumnEncoding>& columns) {
    if (columns.empty()) return;
    auto all = texts("levels");
    const auto first = elements<std::int64_t>(require_tensor(content_, "levels.first", ElementType::kI64, what_));
    std::erase(unread_, "levels.first");
    if (first.size() != columns.size() + 1 || first.front() != 0 ||
        first.back() != static_cast<std::int64_t>(all.size()) || !std::ranges::is_sorted(first)) {
      corrupt(what_, "'levels.first' does not divide the levels among the columns");
    }
    for (std::size_t i = 0; i < columns.size(); ++i) {
      columns[i].levels.assign(std::make_move_iterator(all.begin() + first[i]),
                               std::make_move_iterator(all.begin() + first[i + 1]));
    }
  }
  void end() const {
    if (!unread_.empty()) corrupt(what_, fmt::format("it has a tensor '{}' that is not known", unread_.front()));
  }

 private:
  const Safetensors& content_;
  const std::string_view what_;
  std::vector<std::string> unread_;
};

Encoding read_encoding(const json& small, TensorReader& tensors, std::string_view what) {
  if (!small.is_object() || small.contains("classes")) corrupt(what, "its encoding is not an object without classes");
  auto whole = small;
  whole["classes"] = json::array();
  Encoding encoding;
  try {
    encoding = encoding_from_json(whole);
  } catch (const Error& error) {
    corrupt(what, error.what());
  }
  encoding.classes = tensors.texts("classes");
  encoding.feature_names = tensors.texts("feature_names");
  encoding.scale_offset = tensors.scaling("scale_offset");
  encoding.scale_factor = tensors.scaling("scale_factor");
  tensors.levels(encoding.columns);
  check_encoding(encoding, what);
  return encoding;
}

/// Does the model's kind fit what the encoding says of features and labels?
bool fits(const ModelSpec& spec, const Encoding& encoding) {
  const auto classes = encoding.classes.size();
  if (has_clusters(spec.kind)) {
    const bool full = spec.covariance == CovarianceKind::kFull;
    if (full && (!spec.dense || spec.features > kMostFullFeatures)) return false;
    if (!(spec.reg_covar >= 0) || !std::isfinite(spec.reg_covar)) return false;
    return spec.clusters > 0 && spec.features == encoding.features && spec.dense == encoding.dense &&
           spec.class_weights.empty();
  }
  const bool labels = spec.kind == ModelKind::kLeastSquares ? encoding.task == Task::kRegression
                      : spec.kind == ModelKind::kSoftmax    ? classes >= 2
                                                            : classes == 2;
  return labels && spec.clusters == 0 && spec.features == encoding.features && spec.dense == encoding.dense &&
         (encoding.task == Task::kRegression || spec.classes == classes) &&
         (spec.class_weights.empty() || spec.class_weights.size() == classes);
}

/// Of a mixture: does each component have a covariance with an inverse, and a share that is none below 0?
void check_mixture(const ModelFile& model, std::string_view what) {
  const auto& covariances = model.parameters.values[1];
  const bool full = model.spec.covariance == CovarianceKind::kFull;
  const auto is_variance = [](float value) { return value >= std::numeric_limits<float>::min(); };
  if (!full && !std::ranges::all_of(covariances, is_variance)) corrupt(what, "a variance is not above 0");
  for (std::size_t at = 0, c = 0; full && c < model.spec.clusters; ++c) {
    for (std::size_t f = 0; f < model.spec.features; ++f) {
      at += f + 1;
      if (!is_variance(covariances[at - 1])) corrupt(what, "a diagonal of 'cholesky' is not above 0");
    }
  }
  if (!std::ranges::all_of(model.parameters.values[2], [](float share) { return share >= 0 && share <= 1; })) {
    corrupt(what, "a mixing coefficient is no share");
  }
}

}  // namespace

std::uint32_t model_checksum(const Safetensors& content) {
  std::uint32_t crc = 0;
  for (const auto& [key, value] : content.metadata) {
    if (key != "crc32c") crc = crc32c(as_bytes(value), crc32c(as_bytes(key), crc));
  }
  std::vector<const TensorView*> by_name;
  for (const auto& tensor : content.tensors) by_name.push_back(&tensor);
  std::ranges::sort(by_name, {}, &TensorView::name);
  for (const auto* tensor : by_name) crc = crc32c(tensor->data, crc32c(as_bytes(tensor->name), crc));
  return crc;
}

Bytes encode_model(const ModelFile& model) {
  check(fits(model.spec, model.encoding) && model.parameters.layout == layout_of(model.spec),
        "a model's parts fit together");
  check(json::accept(model.job), "the job of a model is JSON");
  const auto classes = to_tensors(model.encoding.classes);
  const auto names = to_tensors(model.encoding.feature_names);
  const auto all = all_levels(model.encoding);
  const auto levels = to_tensors(all.levels);

  Safetensors content;
  content.metadata = {{"format", json(kFormat).dump()},
                      {"version", json(kVersion).dump()},
                      {"created_by", json(model.created_by).dump()},
                      {"model", to_json(model.spec).dump()},
                      {"encoding", small_part(model.encoding).dump()},
                      {"training", to_json(model.training).dump()},
                      {"data", to_json(model.data).dump()},
                      {"job", model.job}};
  for (std::size_t t = 0; t < model.parameters.layout.size(); ++t) {
    const auto& table = model.parameters.layout[t];
    const auto& values = model.parameters.values[t];
    if (!all_finite(values)) {
      throw Error(ErrorKind::kDiverged, fmt::format("the model's {} are not finite", table.name),
                  "train again with a smaller learning rate, with scaling, or with --l2");
    }
    add_floats(content, table.name, {table.rows, table.width}, values);
  }
  const auto& encoding = model.encoding;
  if (!encoding.scale_offset.empty())
    add_floats(content, "scale_offset", {encoding.scale_offset.size()}, encoding.scale_offset);
  if (!encoding.scale_factor.empty())
    add_floats(content, "scale_factor", {encoding.scale_factor.size()}, encoding.scale_factor);
  if (!encoding.classes.empty()) add_text_tensors(content, "classes", classes);
  if (!encoding.feature_names.empty()) add_text_tensors(content, "feature_names", names);
  if (!encoding.columns.empty()) {
    add_text_tensors(content, "levels", levels);
    content.tensors.push_back(
        {"levels.first", ElementType::kI64, {all.first.size()}, std::as_bytes(std::span(all.first))});
  }
  content.metadata["crc32c"] = std::to_string(model_checksum(content));
  return encode_safetensors(content);
}

ModelFile decode_model(ByteView bytes, std::string_view what) {
  const auto content = parse_safetensors(bytes, what);
  check_format(content, what);
  if (parse_member(content, "crc32c", what) != model_checksum(content)) corrupt(what, "its checksum does not match");

  ModelFile model;
  const auto created_by = parse_member(content, "created_by", what);
  if (!created_by.is_string()) corrupt(what, "'created_by' in its metadata is not a text");
  model.created_by = created_by;
  model.spec = read_spec(parse_member(content, "model", what), what);
  model.training = read_training(parse_member(content, "training", what), what);
  model.data = read_data(parse_member(content, "data", what), what);
  const auto job = content.metadata.find("job");
  if (job == content.metadata.end() || !json::accept(job->second)) corrupt(what, "'job' in its metadata is not JSON");
  model.job = job->second;

  TensorReader tensors(content, what);
  model.encoding = read_encoding(parse_member(content, "encoding", what), tensors, what);
  if (!fits(model.spec, model.encoding)) corrupt(what, "the kind of the model does not fit its features and classes");
  const auto layout = layout_of(model.spec);
  std::vector<std::vector<float>> values;
  for (const auto& table : layout) values.push_back(tensors.floats(table.name, {table.rows, table.width}));
  model.parameters.layout = layout;
  model.parameters.values = std::move(values);
  tensors.end();
  if (model.spec.kind == ModelKind::kGaussianMixture) check_mixture(model, what);
  return model;
}

void write_model_file(const std::filesystem::path& path, const ModelFile& model) {
  write_file_or_object(path.string(), encode_model(model));
}

ModelFile read_model_file(const std::filesystem::path& path) {
  return decode_model(read_file_or_object(path.string()), path.string());
}

}  // namespace virga
