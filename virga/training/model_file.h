#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "virga/base/bytes.h"
#include "virga/batch/table.h"
#include "virga/data/encoding.h"
#include "virga/data/manifest.h"
#include "virga/model/model.h"
#include "virga/training/safetensors.h"

namespace virga {

/// How a model came about. Losses are mean losses of the examples, without penalties; absent where nothing was
/// measured.
struct TrainingSummary {
  std::uint64_t seed = 0;
  std::uint32_t epochs = 0;      ///< completed
  std::uint64_t rounds = 0;      ///< completed
  std::uint32_t best_epoch = 0;  ///< the one after which the parameters in the file were taken
  double learning_rate = 0;      ///< as given or found
  double l1 = 0;
  double l2 = 0;
  std::optional<double> training_loss;          ///< of the parameters in the file
  std::optional<double> validation_loss;        ///< of the parameters in the file
  std::optional<double> final_training_loss;    ///< after the last epoch
  std::optional<double> final_validation_loss;  ///< after the last epoch
  bool operator==(const TrainingSummary&) const = default;
};

/// What a model was trained on.
struct TrainingData {
  std::string uri;
  std::uint32_t checksum = 0;  ///< manifest_checksum()
  std::vector<SourceInfo> sources;
  bool operator==(const TrainingData&) const = default;
};

/// A model with all that is needed to use it: parameters, and how raw rows become the features that they belong to. The
/// file is docs/formats/model.md.
struct ModelFile {
  ModelSpec spec;
  Tables parameters;  ///< of layout_of(spec)
  Encoding encoding;  ///< of spec.features features and its classes
  TrainingSummary training;
  TrainingData data;
  std::string job = "{}";  ///< JSON text: every option of the job
  std::string created_by;  ///< "virga 0.1.0"
};

// `path` is a file's, or an s3:// URI.

/// Puts the model at `path`, all or nothing; equal models give equal bytes. Takes memory for the file's bytes. Requires
/// parts that fit together. Throws Error(kIo), kDiverged for parameters that are not finite, kTooLarge for more than
/// 16 MiB of job, columns and the like.
void write_model_file(const std::filesystem::path& path, const ModelFile& model);

/// The model at `path`, everything checked. Throws Error(kNotFound, kIo); kBadData when it is something else, kCorrupt
/// when it is damaged, kUnsupported for another version; all name the path.
[[nodiscard]] ModelFile read_model_file(const std::filesystem::path& path);

/// The same without the disk.
[[nodiscard]] Bytes encode_model(const ModelFile& model);
[[nodiscard]] ModelFile decode_model(ByteView bytes, std::string_view what);

/// The checksum that stands in a model file's metadata as "crc32c": CRC-32C over all other metadata and all tensors.
[[nodiscard]] std::uint32_t model_checksum(const Safetensors& content);

}  // namespace virga
