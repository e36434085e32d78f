#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "virga/base/bytes.h"
#include "virga/data/encoding.h"
#include "virga/storage/object_store.h"

namespace virga {

/// One stored object of row groups.
struct BlockInfo {
  std::string name;  ///< object name relative to the set's URI
  std::uint64_t bytes = 0;
  std::uint32_t crc32c = 0;  ///< of all its bytes
  std::uint32_t rows = 0;
  std::vector<std::uint32_t> group_bytes;  ///< encoded size of each group, in order (for ranged reads)
  bool operator==(const BlockInfo&) const = default;
};

/// One of training, validation, test. Every group has `rows_per_group` rows but the last one of a split.
struct Split {
  std::uint64_t rows = 0;
  std::uint64_t nonzeros = 0;
  double weight = 0;                      ///< sum of sample weights
  std::vector<double> class_weight_sums;  ///< [classes] sum of sample weights by class; empty for regression
  double label_mean = 0;                  ///< weighted; regression's base rate
  double label_variance = 0;
  std::vector<BlockInfo> blocks;
  bool operator==(const Split&) const = default;
};

/// A source file as it was read.
struct SourceInfo {
  std::string path;
  std::uint64_t bytes = 0;
  std::uint32_t crc32c = 0;  ///< of the file's bytes as stored (packed, if it is)
  bool operator==(const SourceInfo&) const = default;
};

/// The description of an imported set, stored last (so that a cut-off import leaves nothing that looks whole) as
/// `manifest.json` with the large arrays in `encoding.bin`. See docs/formats/manifest.md.
struct Manifest {
  std::uint64_t seed = 0;
  std::uint32_t rows_per_group = 1000;
  Encoding encoding;
  Split train;
  Split validation;
  Split test;
  std::vector<SourceInfo> sources;
  std::uint64_t skipped_rows = 0;
  std::string created_by;  ///< "virga 0.1.0"
  /// How often features occur in the training split, as cuts: key_quantiles[i] is the smallest feature id below which
  /// at least i/(n-1) of the non-zeros lie; used to cut sparse ranges among ranks. Empty for dense sets.
  std::vector<std::uint32_t> key_quantiles;
  bool operator==(const Manifest&) const = default;
};

/// Publishes a set whose blocks are stored: encoding.bin (if there are large arrays), then manifest.json, durably.
/// Throws Error(kCorrupt) for a manifest that read_manifest() would refuse, before anything is written, and what
/// ObjectStore::put throws.
void write_manifest(ObjectStore& store, const Manifest& manifest);

/// The set's description, checked: sizes and rows add up, names are names, all numbers are in range. Throws
/// Error(kNotFound) if there is no set, kUnsupported for another version, kCorrupt.
[[nodiscard]] Manifest read_manifest(const ObjectStore& store);

/// A number that names the data: CRC-32C over the manifest and, through it, over all blocks. It stands in
/// manifest.json.
[[nodiscard]] std::uint32_t manifest_checksum(const Manifest& manifest);

/// manifest.json's text, and the Manifest of such texts; read_manifest() without the store. `arrays`: the bytes of
/// encoding.bin, empty if there is none.
[[nodiscard]] std::string manifest_text(const Manifest& manifest);
[[nodiscard]] Manifest parse_manifest(std::string_view text, ByteView arrays);

}  // namespace virga
