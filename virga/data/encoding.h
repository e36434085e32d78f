#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "virga/base/bytes.h"

namespace virga {

enum class Task : std::uint8_t { kBinary, kMulticlass, kRegression };
enum class SourceFormat : std::uint8_t { kLibsvm, kCsv, kIdx };
enum class MissingPolicy : std::uint8_t { kIndicator, kMean, kZero, kError };
enum class ScaleKind : std::uint8_t { kNone, kMaxAbs, kStandardise, kConstant };

/// How one column of a CSV/TSV file becomes features. Features of a column are consecutive ids from `first_feature`.
struct ColumnEncoding {
  enum class Kind : std::uint8_t { kIgnored, kLabel, kWeight, kNumeric, kCategorical, kHashed };
  std::string name;
  Kind kind = Kind::kIgnored;
  std::uint32_t first_feature = 0;
  std::uint32_t features = 0;  ///< how many ids it takes
  bool has_missing = false;    ///< numeric with MissingPolicy::kIndicator: its last id is the indicator "is missing"
  float mean = 0;              ///< numeric: of the training split, for MissingPolicy::kMean
  std::vector<std::string>
      levels;  ///< categorical: sorted; level i is feature first_feature + i, the last id is "unseen"
  bool operator==(const ColumnEncoding&) const = default;
};

/// How raw rows become feature vectors: all that is needed to read further rows of the same kind. It is written into
/// the manifest of an imported set and into each model trained on it, so that a model predicts from raw rows.
struct Encoding {
  SourceFormat format = SourceFormat::kLibsvm;
  Task task = Task::kBinary;
  std::uint32_t features = 0;              ///< number of feature ids
  bool dense = false;                      ///< rows are stored dense
  std::vector<std::string> classes;        ///< text of class 0, 1, ... in the source; empty for regression
  std::vector<std::string> feature_names;  ///< empty, or one for each feature id

  // LIBSVM
  bool one_based = true;
  // CSV
  char delimiter = ',';
  bool header = true;
  MissingPolicy missing = MissingPolicy::kIndicator;
  std::vector<ColumnEncoding> columns;
  // IDX
  std::vector<std::uint32_t> image_shape;

  /// scaled = (raw - offset[feature]) * factor[feature] for explicit entries; an empty vector stands for all 0 / all 1,
  /// one element for the same value everywhere.
  ScaleKind scale = ScaleKind::kNone;
  std::vector<float> scale_offset;
  std::vector<float> scale_factor;

  bool operator==(const Encoding&) const = default;
};

/// Everything but the large arrays (feature_names, scale_offset, scale_factor, levels), which encoding_arrays() holds;
/// a model file keeps them as tensors. Texts are escaped (escape.h), so that the JSON is valid UTF-8.
[[nodiscard]] nlohmann::json to_json(const Encoding& encoding);
/// The inverse. Throws Error(kCorrupt) on anything that to_json would not write. The large arrays are empty; when they
/// are filled in, check_encoding() says whether all fits together.
[[nodiscard]] Encoding encoding_from_json(const nlohmann::json& json);

/// The large arrays of `encoding` in the binary form of docs/formats/manifest.md (checksummed); empty if it has none.
[[nodiscard]] Bytes encoding_arrays(const Encoding& encoding);
/// Fills in the arrays that `bytes` holds. Throws Error(kCorrupt), naming `what`; allocates no more than a fixed
/// multiple of bytes.size().
void read_encoding_arrays(ByteView bytes, Encoding& encoding, std::string_view what);

/// Throws Error(kCorrupt), naming `what`, unless the parts of `encoding` fit together: classes and task, columns and
/// features, names and scaling.
void check_encoding(const Encoding& encoding, std::string_view what);

[[nodiscard]] std::string_view to_string(Task task) noexcept;
[[nodiscard]] std::string_view to_string(SourceFormat format) noexcept;
[[nodiscard]] std::string_view to_string(MissingPolicy policy) noexcept;
[[nodiscard]] std::string_view to_string(ScaleKind kind) noexcept;

}  // namespace virga
