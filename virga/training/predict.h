#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "virga/training/evaluate.h"
#include "virga/training/model_file.h"

namespace virga {

/// What is written of each row.
enum class PredictionKind : std::uint8_t {
  kLabel,        ///< the predicted class as the source wrote it, or the predicted number; cluster and distance
                 ///< or log-likelihood
  kProbability,  ///< of the second class; with several classes (or components) a column for each, under a line
                 ///< of their names
  kRaw,          ///< the score; with several classes a column for each, under a line of their names; all distances
};
/// "label", "probability", "raw"; throws Error(kUsage) for another word.
[[nodiscard]] PredictionKind parse_prediction_kind(std::string_view word);

/// Takes text in order, one thread at a time; throws what writing throws.
using TextSink = std::function<void(std::string_view)>;

/// Writes a line for every row of `next`, in its order: docs/formats/predictions.md. Rows are scored on `threads`
/// threads; memory is a few groups a thread. Returns the number of rows. Throws Error(kUsage) for probabilities of a
/// model that has none, kDiverged for scores that are not numbers, and what `next` and `write` throw.
std::uint64_t predict(const ModelFile& model, const GroupStream& next, PredictionKind kind, unsigned threads,
                      const TextSink& write);

/// The line of column names that comes before the rows, with its newline; empty if there is none.
[[nodiscard]] std::string prediction_header(const ModelFile& model, PredictionKind kind);

}  // namespace virga
