#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/units.h"
#include "virga/cli/inspect.h"
#include "virga/cli/table.h"
#include "virga/data/escape.h"
#include "virga/data/manifest.h"

namespace virga {
namespace {

using nlohmann::json;

constexpr std::size_t kMostShown = 40;  // classes and columns of the text; JSON has all

std::string_view to_string(ColumnEncoding::Kind kind) noexcept {
  switch (kind) {
    case ColumnEncoding::Kind::kIgnored:
      return "ignored";
    case ColumnEncoding::Kind::kLabel:
      return "label";
    case ColumnEncoding::Kind::kWeight:
      return "weight";
    case ColumnEncoding::Kind::kNumeric:
      return "numeric";
    case ColumnEncoding::Kind::kCategorical:
      return "categorical";
    case ColumnEncoding::Kind::kHashed:
      return "hashed";
  }
  return "ignored";
}

std::uint64_t stored_bytes(const Split& split) {
  std::uint64_t bytes = 0;
  for (const auto& block : split.blocks) bytes += block.bytes;
  return bytes;
}

json split_json(const Split& split) {
  return {{"rows", split.rows},
          {"nonzeros", split.nonzeros},
          {"weight", split.weight},
          {"class_weight_sums", split.class_weight_sums},
          {"label_mean", split.label_mean},
          {"blocks", split.blocks.size()},
          {"stored_bytes", stored_bytes(split)}};
}

std::string splits_text(const Manifest& manifest) {
  Table table({{"SPLIT"},
               {"ROWS", true},
               {"NON-ZEROS", true},
               {"A ROW", true},
               {"BLOCKS", true},
               {"STORED", true},
               {"LABEL MEAN", true}});
  for (const auto& [name, split] : {std::pair<const char*, const Split&>{"train", manifest.train},
                                    {"validation", manifest.validation},
                                    {"test", manifest.test}}) {
    if (split.rows == 0) continue;
    const auto per_row = static_cast<double>(split.nonzeros) / static_cast<double>(split.rows);
    table.add({name, format_count(split.rows), format_count(split.nonzeros), fmt::format("{:.1f}", per_row),
               std::to_string(split.blocks.size()), format_bytes(stored_bytes(split)),
               fmt::format("{:.4g}", split.label_mean)});
  }
  return table.text();
}

std::string classes_text(const Manifest& manifest) {
  const auto& sums = manifest.train.class_weight_sums;
  if (sums.empty()) return {};
  Table table({{"CLASS"}, {"TRAINING WEIGHT", true}, {"SHARE", true}});
  for (std::size_t c = 0; c < std::min(sums.size(), kMostShown); ++c) {
    const auto share = manifest.train.weight > 0 ? sums[c] / manifest.train.weight : 0;
    table.add({manifest.encoding.classes[c], fmt::format("{:.10g}", sums[c]), fmt::format("{:.2f} %", share * 100)});
  }
  const auto more = sums.size() > kMostShown ? fmt::format("and {} more\n", sums.size() - kMostShown) : std::string();
  return "\n" + table.text() + more;
}

std::string columns_text(const Encoding& encoding) {
  if (encoding.columns.empty()) return {};
  Table table({{"COLUMN"}, {"KIND"}, {"FEATURES", true}, {"FROM", true}});
  for (std::size_t c = 0; c < std::min(encoding.columns.size(), kMostShown); ++c) {
    const auto& column = encoding.columns[c];
    const bool used = column.features > 0;
    table.add({column.name, std::string(to_string(column.kind)), used ? format_count(column.features) : "-",
               used ? std::to_string(column.first_feature) : "-"});
  }
  const auto hidden = encoding.columns.size() - std::min(encoding.columns.size(), kMostShown);
  return "\n" + table.text() + (hidden > 0 ? fmt::format("and {} more\n", hidden) : std::string());
}

}  // namespace

json set_json(const Manifest& manifest) {
  const auto& encoding = manifest.encoding;
  json document{{"kind", "set"},
                {"checksum", fmt::format("{:08x}", manifest_checksum(manifest))},
                {"created_by", manifest.created_by},
                {"seed", manifest.seed},
                {"rows_per_group", manifest.rows_per_group},
                {"skipped_rows", manifest.skipped_rows},
                {"format", to_string(encoding.format)},
                {"task", to_string(encoding.task)},
                {"features", encoding.features},
                {"dense", encoding.dense},
                {"scale", to_string(encoding.scale)},
                {"train", split_json(manifest.train)},
                {"validation", split_json(manifest.validation)},
                {"test", split_json(manifest.test)}};
  document["classes"] = json::array();
  for (const auto& name : encoding.classes) document["classes"].push_back(escape_text(name));
  document["columns"] = json::array();
  for (const auto& column : encoding.columns) {
    document["columns"].push_back({{"name", escape_text(column.name)},
                                   {"kind", to_string(column.kind)},
                                   {"first_feature", column.first_feature},
                                   {"features", column.features}});
  }
  document["sources"] = json::array();
  for (const auto& source : manifest.sources) {
    document["sources"].push_back({{"path", escape_text(source.path)}, {"bytes", source.bytes}});
  }
  return document;
}

void inspect_set(const std::string& uri, Session& session) {
  const auto manifest = read_manifest(*open_object_store(uri));
  if (session.json()) return session.print_json(set_json(manifest));
  const auto& encoding = manifest.encoding;
  auto text = fmt::format("Set {}: {} from {}, {} {} features, scale {}\n", uri, to_string(encoding.task),
                          to_string(encoding.format), format_count(encoding.features),
                          encoding.dense ? "dense" : "sparse", to_string(encoding.scale));
  text += fmt::format("  checksum {:08x}, seed {}, {} rows a group, by {}\n", manifest_checksum(manifest),
                      manifest.seed, manifest.rows_per_group, manifest.created_by);
  if (manifest.skipped_rows > 0) text += fmt::format("  {} bad rows skipped\n", format_count(manifest.skipped_rows));
  for (const auto& source : manifest.sources) {
    text += fmt::format("  from {} ({})\n", escape_text(source.path), format_bytes(source.bytes));
  }
  session.print(text + "\n" + splits_text(manifest) + classes_text(manifest) + columns_text(encoding));
}

}  // namespace virga
