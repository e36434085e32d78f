#include "virga/data/manifest.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "virga/base/hash.h"
#include "virga/data/escape.h"
#include "virga/data/json_fields.h"

namespace virga {
namespace {

using nlohmann::json;

constexpr std::string_view kManifestName = "manifest.json";
constexpr std::string_view kArraysName = "encoding.bin";
constexpr std::string_view kFormat = "virga-data-set";
constexpr std::uint32_t kVersion = 1;
constexpr std::uint64_t kLargestManifest = std::uint64_t{256} << 20;
constexpr std::uint64_t kLargestArrays = std::uint64_t{16} << 30;
constexpr int kDeepest = 8;  // nesting of the JSON; hostile depth would end in recursion

[[noreturn]] void fail(std::string_view reason) {
  throw Error(ErrorKind::kCorrupt, fmt::format("{}: {}", kManifestName, reason),
              "the data set is damaged; import it again");
}

void require(bool condition, std::string_view reason) {
  if (!condition) fail(reason);
}

json to_json(const BlockInfo& block) {
  return {{"name", escape_text(block.name)},
          {"bytes", block.bytes},
          {"crc32c", block.crc32c},
          {"rows", block.rows},
          {"group_bytes", block.group_bytes}};
}

BlockInfo block_from_json(const json& object) {
  const JsonFields fields(object, "manifest.json: blocks", {"name", "bytes", "crc32c", "rows", "group_bytes"});
  BlockInfo block;
  block.name = fields.text("name");
  block.bytes = fields.number<std::uint64_t>("bytes");
  block.crc32c = fields.number<std::uint32_t>("crc32c");
  block.rows = fields.number<std::uint32_t>("rows");
  block.group_bytes = fields.numbers("group_bytes");
  return block;
}

json to_json(const Split& split) {
  auto blocks = json::array();
  for (const auto& block : split.blocks) blocks.push_back(to_json(block));
  return {{"rows", split.rows},
          {"nonzeros", split.nonzeros},
          {"weight", split.weight},
          {"class_weight_sums", split.class_weight_sums},
          {"label_mean", split.label_mean},
          {"label_variance", split.label_variance},
          {"blocks", std::move(blocks)}};
}

Split split_from_json(const json& object, const std::string& what) {
  const JsonFields fields(
      object, what, {"rows", "nonzeros", "weight", "class_weight_sums", "label_mean", "label_variance", "blocks"});
  Split split;
  split.rows = fields.number<std::uint64_t>("rows");
  split.nonzeros = fields.number<std::uint64_t>("nonzeros");
  split.weight = fields.real("weight");
  split.class_weight_sums = fields.reals("class_weight_sums");
  split.label_mean = fields.real("label_mean");
  split.label_variance = fields.real("label_variance");
  for (const auto& block : fields.array("blocks")) split.blocks.push_back(block_from_json(block));
  return split;
}

json to_json(const SourceInfo& source) {
  return {{"path", escape_text(source.path)}, {"bytes", source.bytes}, {"crc32c", source.crc32c}};
}

SourceInfo source_from_json(const json& object) {
  const JsonFields fields(object, "manifest.json: sources", {"path", "bytes", "crc32c"});
  return {.path = fields.text("path"),
          .bytes = fields.number<std::uint64_t>("bytes"),
          .crc32c = fields.number<std::uint32_t>("crc32c")};
}

/// The document without its checksum.
json to_json(const Manifest& manifest, ByteView arrays) {
  auto sources = json::array();
  for (const auto& source : manifest.sources) sources.push_back(to_json(source));
  return {{"format", kFormat},
          {"version", kVersion},
          {"created_by", escape_text(manifest.created_by)},
          {"seed", manifest.seed},
          {"rows_per_group", manifest.rows_per_group},
          {"skipped_rows", manifest.skipped_rows},
          {"encoding", to_json(manifest.encoding)},
          {"arrays", {{"bytes", arrays.size()}, {"crc32c", crc32c(arrays)}}},
          {"sources", std::move(sources)},
          {"train", to_json(manifest.train)},
          {"validation", to_json(manifest.validation)},
          {"test", to_json(manifest.test)},
          {"key_quantiles", manifest.key_quantiles}};
}

void check_arrays(const json& object, ByteView arrays) {
  const JsonFields fields(object, "manifest.json: arrays", {"bytes", "crc32c"});
  require(fields.number<std::uint64_t>("bytes") == arrays.size() &&
              fields.number<std::uint32_t>("crc32c") == crc32c(arrays),
          "encoding.bin is not the one that belongs to it");
}

Manifest from_json(const json& document, ByteView arrays) {
  const JsonFields fields(document, "manifest.json",
                          {"format", "version", "created_by", "seed", "rows_per_group", "skipped_rows", "encoding",
                           "arrays", "sources", "train", "validation", "test", "key_quantiles"});
  check_arrays(fields.member("arrays"), arrays);
  Manifest manifest;
  manifest.created_by = fields.text("created_by");
  manifest.seed = fields.number<std::uint64_t>("seed");
  manifest.rows_per_group = fields.number<std::uint32_t>("rows_per_group");
  manifest.skipped_rows = fields.number<std::uint64_t>("skipped_rows");
  manifest.encoding = encoding_from_json(fields.member("encoding"));
  read_encoding_arrays(arrays, manifest.encoding, kArraysName);
  for (const auto& source : fields.array("sources")) manifest.sources.push_back(source_from_json(source));
  manifest.train = split_from_json(fields.member("train"), "manifest.json: train");
  manifest.validation = split_from_json(fields.member("validation"), "manifest.json: validation");
  manifest.test = split_from_json(fields.member("test"), "manifest.json: test");
  manifest.key_quantiles = fields.numbers("key_quantiles");
  return manifest;
}

void check_block(const BlockInfo& block, std::uint32_t rows_per_group, bool last) {
  require(is_object_name(block.name), "the name of a block is not one");
  require(block.rows > 0 && (last || block.rows % rows_per_group == 0), "a block has the wrong number of rows");
  const auto groups = (std::uint64_t{block.rows} + rows_per_group - 1) / rows_per_group;
  const auto bytes = std::accumulate(block.group_bytes.begin(), block.group_bytes.end(), std::uint64_t{0});
  require(block.group_bytes.size() == groups && bytes == block.bytes, "the groups of a block do not add up");
}

void check_split(const Split& split, const Manifest& manifest) {
  std::uint64_t rows = 0;
  for (const auto& block : split.blocks) {
    check_block(block, manifest.rows_per_group, &block == &split.blocks.back());
    rows += block.rows;
  }
  require(rows == split.rows, "the rows of the blocks do not add up");
  const auto classes = manifest.encoding.classes.size();
  require(split.class_weight_sums.empty() || split.class_weight_sums.size() == classes,
          "the weights of the classes do not match the classes");
  const auto is_weight = [](double weight) { return std::isfinite(weight) && weight >= 0; };
  require(is_weight(split.weight) && std::ranges::all_of(split.class_weight_sums, is_weight), "a weight is negative");
  require(std::isfinite(split.label_mean) && is_weight(split.label_variance), "the labels' variance is negative");
}

void check_manifest(const Manifest& manifest) {
  require(manifest.rows_per_group > 0, "a group has no rows");
  check_encoding(manifest.encoding, kManifestName);
  for (const auto* split : {&manifest.train, &manifest.validation, &manifest.test}) check_split(*split, manifest);
  require(std::ranges::is_sorted(manifest.key_quantiles) &&
              (manifest.key_quantiles.empty() || manifest.key_quantiles.back() <= manifest.encoding.features),
          "the quantiles of the keys are not in order");
}

/// The checksum is over the document without it, in the one form that dump() gives.
std::uint32_t checksum(const json& document) { return crc32c(as_bytes(document.dump())); }

json parse_document(std::string_view text) {
  const auto shallow = [](int depth, json::parse_event_t, json&) {
    require(depth <= kDeepest, "it is nested too deeply");
    return true;
  };
  try {
    return json::parse(text, shallow);
  } catch (const json::exception& error) {
    fail(fmt::format("it is not JSON ({})", error.what()));
  }
}

}  // namespace

std::string manifest_text(const Manifest& manifest) {
  auto document = to_json(manifest, encoding_arrays(manifest.encoding));
  document["checksum"] = checksum(document);
  return document.dump() + "\n";
}

std::uint32_t manifest_checksum(const Manifest& manifest) {
  return checksum(to_json(manifest, encoding_arrays(manifest.encoding)));
}

Manifest parse_manifest(std::string_view text, ByteView arrays) {
  auto document = parse_document(text);
  require(document.is_object() && document.value("format", json()) == kFormat, "this is not a data set of Virga");
  const auto version = document.value("version", json());
  require(version.is_number_unsigned(), "it has no version");
  if (version != kVersion) {
    throw Error(ErrorKind::kUnsupported, fmt::format("{}: version {} is not known", kManifestName, version.dump()),
                "use a newer virga, or import the data again");
  }
  const auto stored = document.value("checksum", json());
  document.erase("checksum");
  require(stored == checksum(document), "the checksum does not match");
  auto manifest = from_json(document, arrays);
  check_manifest(manifest);
  return manifest;
}

void write_manifest(ObjectStore& store, const Manifest& manifest) {
  check_manifest(manifest);
  const auto text = manifest_text(manifest);
  check(text.size() <= kLargestManifest, "a manifest has grown too large");
  const auto arrays = encoding_arrays(manifest.encoding);
  if (arrays.empty()) store.remove(kArraysName);  // of a set that stood here before
  if (!arrays.empty()) store.put(kArraysName, arrays, Durability::kDurable);
  store.put(kManifestName, as_bytes(text), Durability::kDurable);
}

Manifest read_manifest(const ObjectStore& store) {
  if (!store.exists(kManifestName)) {
    throw Error(ErrorKind::kNotFound, fmt::format("{}: there is no data set here (no manifest.json)", store.uri()),
                "import one with `virga import`, or check the path");
  }
  const auto text = store.get(kManifestName, kLargestManifest);
  const auto arrays = store.exists(kArraysName) ? store.get(kArraysName, kLargestArrays) : Bytes();
  try {
    return parse_manifest(as_text(text), arrays);
  } catch (const Error& error) {
    throw Error(error.kind(), fmt::format("{}: {}", store.uri(), error.what()), error.remedy());
  }
}

}  // namespace virga
