#include "virga/data/encoding.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/error.h"
#include "virga/data/escape.h"
#include "virga/data/json_fields.h"

namespace virga {
namespace {

using nlohmann::json;

// The names of the enumerators, in their order.
constexpr std::array<std::string_view, 3> kTasks = {"binary", "multiclass", "regression"};
constexpr std::array<std::string_view, 3> kFormats = {"libsvm", "csv", "idx"};
constexpr std::array<std::string_view, 4> kMissing = {"indicator", "mean", "zero", "error"};
constexpr std::array<std::string_view, 4> kScales = {"none", "maxabs", "standard", "constant"};
constexpr std::array<std::string_view, 6> kColumns = {"ignored", "label", "weight", "numeric", "categorical", "hashed"};

template <typename Enum>
Enum enumerator(std::span<const std::string_view> names, const JsonFields& fields, std::string_view name) {
  const auto text = fields.text(name);
  const auto found = std::ranges::find(names, text);
  if (found == names.end())
    throw Error(ErrorKind::kCorrupt, fmt::format("{}: \"{}\" is not known", fields.path(name), text));
  return static_cast<Enum>(found - names.begin());
}

json escaped(const std::vector<std::string>& texts) {
  auto list = json::array();
  for (const auto& text : texts) list.push_back(escape_text(text));
  return list;
}

json to_json(const ColumnEncoding& column) {
  return {{"name", escape_text(column.name)},      {"kind", kColumns[static_cast<std::size_t>(column.kind)]},
          {"first_feature", column.first_feature}, {"features", column.features},
          {"has_missing", column.has_missing},     {"mean", column.mean}};
}

ColumnEncoding column_from_json(const json& object) {
  const JsonFields fields(object, "encoding: columns",
                          {"name", "kind", "first_feature", "features", "has_missing", "mean"});
  ColumnEncoding column;
  column.name = fields.text("name");
  column.kind = enumerator<ColumnEncoding::Kind>(kColumns, fields, "kind");
  column.first_feature = fields.number<std::uint32_t>("first_feature");
  column.features = fields.number<std::uint32_t>("features");
  column.has_missing = fields.flag("has_missing");
  column.mean = static_cast<float>(fields.real("mean"));
  return column;
}

void require(bool condition, std::string_view what, std::string_view reason) {
  if (!condition) throw Error(ErrorKind::kCorrupt, fmt::format("{}: {}", what, reason));
}

void check_column(const ColumnEncoding& column, std::uint32_t features, std::string_view what) {
  using Kind = ColumnEncoding::Kind;
  const bool has_features =
      column.kind == Kind::kNumeric || column.kind == Kind::kCategorical || column.kind == Kind::kHashed;
  require(std::uint64_t{column.first_feature} + column.features <= features && (has_features || column.features == 0),
          what, "the features of a column are out of range");
  require(column.kind == Kind::kCategorical ? column.levels.size() <= column.features : column.levels.empty(), what,
          "the levels of a column do not match its features");
  require(std::ranges::adjacent_find(column.levels, std::greater_equal<>()) == column.levels.end(), what,
          "the levels of a column are not sorted");
  require(std::isfinite(column.mean), what, "the mean of a column is not finite");
}

void check_scaling(const std::vector<float>& values, std::uint32_t features, std::string_view what) {
  require(values.size() <= 1 || values.size() == features, what, "the scaling does not match the number of features");
  require(std::ranges::all_of(values, [](float value) { return std::isfinite(value); }), what,
          "the scaling is not finite");
}

}  // namespace

std::string_view to_string(Task task) noexcept { return kTasks[static_cast<std::size_t>(task)]; }
std::string_view to_string(SourceFormat format) noexcept { return kFormats[static_cast<std::size_t>(format)]; }
std::string_view to_string(MissingPolicy policy) noexcept { return kMissing[static_cast<std::size_t>(policy)]; }
std::string_view to_string(ScaleKind kind) noexcept { return kScales[static_cast<std::size_t>(kind)]; }

json to_json(const Encoding& encoding) {
  auto columns = json::array();
  for (const auto& column : encoding.columns) columns.push_back(to_json(column));
  return {{"format", to_string(encoding.format)},
          {"task", to_string(encoding.task)},
          {"features", encoding.features},
          {"dense", encoding.dense},
          {"classes", escaped(encoding.classes)},
          {"one_based", encoding.one_based},
          {"delimiter", escape_text({&encoding.delimiter, 1})},
          {"header", encoding.header},
          {"missing", to_string(encoding.missing)},
          {"columns", std::move(columns)},
          {"image_shape", encoding.image_shape},
          {"scale", to_string(encoding.scale)}};
}

Encoding encoding_from_json(const json& object) {
  const JsonFields fields(object, "encoding",
                          {"format", "task", "features", "dense", "classes", "one_based", "delimiter", "header",
                           "missing", "columns", "image_shape", "scale"});
  Encoding encoding;
  encoding.format = enumerator<SourceFormat>(kFormats, fields, "format");
  encoding.task = enumerator<Task>(kTasks, fields, "task");
  encoding.features = fields.number<std::uint32_t>("features");
  encoding.dense = fields.flag("dense");
  encoding.classes = fields.texts("classes");
  encoding.one_based = fields.flag("one_based");
  const auto delimiter = fields.text("delimiter");
  require(delimiter.size() == 1, fields.path("delimiter"), "must be one character");
  encoding.delimiter = delimiter.front();
  encoding.header = fields.flag("header");
  encoding.missing = enumerator<MissingPolicy>(kMissing, fields, "missing");
  for (const auto& column : fields.array("columns")) encoding.columns.push_back(column_from_json(column));
  encoding.image_shape = fields.numbers("image_shape");
  encoding.scale = enumerator<ScaleKind>(kScales, fields, "scale");
  return encoding;
}

void check_encoding(const Encoding& encoding, std::string_view what) {
  require(encoding.features > 0, what, "it has no features");
  const auto classes = encoding.classes.size();
  require(encoding.task == Task::kRegression ? classes == 0
          : encoding.task == Task::kBinary   ? classes == 2
                                             : classes >= 2,
          what, "the classes do not match the task");
  require(encoding.feature_names.empty() || encoding.feature_names.size() == encoding.features, what,
          "the names do not match the number of features");
  for (const auto& column : encoding.columns) check_column(column, encoding.features, what);
  check_scaling(encoding.scale_offset, encoding.features, what);
  check_scaling(encoding.scale_factor, encoding.features, what);
}

}  // namespace virga
