#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "virga/data/class_labels.h"
#include "virga/data/csv_columns.h"
#include "virga/data/encoding.h"

namespace virga {

/// How a hashed column came out.
struct HashedColumn {
  std::string name;
  std::uint64_t levels = 0;  ///< different values of the training split, as far as 2^24 hash values tell them apart
  std::uint32_t buckets = 0;
  double collision_rate = 0;  ///< share of levels that have no bucket of their own: 1 - (buckets in use) / levels
};

/// The first pass over CSV files: what the training split says about columns. Sums are made in the order of chunks, so
/// that the result does not depend on threads.
class CsvSurvey {
 public:
  static constexpr std::size_t kMostLevels = 10'000;

  /// `is_training` tells by the number of a line whether its row belongs to the training split.
  CsvSurvey(const CsvDraft& draft, std::function<bool(std::uint64_t item)> is_training);

  /// Looks at one chunk; several threads may, but must have taken the chunks in order. Bad lines go to `rows`.
  void add(const CsvChunk& chunk, ParsedRows& rows);

  struct Result {
    Encoding encoding;
    std::vector<std::string> constant_columns;
    std::vector<HashedColumn> hashed_columns;
  };
  /// The complete encoding: task and classes, features of the columns, scaling.
  [[nodiscard]] Result finish(std::optional<Task> task, ScaleKind scale) const;

 private:
  /// Of a numeric column.
  struct Moments {
    std::uint64_t count = 0;
    std::uint64_t missing = 0;
    double mean = 0;
    double square = 0;  // sum of (value - mean)^2
    float smallest = 0;
    float largest = 0;
    void add(float value) noexcept;
    void merge(const Moments& other) noexcept;
  };
  /// Of a categorical one. Beyond kMostLevels only hash values are kept, as a bitmap of 2^24.
  struct Levels {
    std::set<std::string, std::less<>> texts;
    std::vector<std::uint64_t> hashes;  // empty: the texts are complete
    void add(const std::string& column, const std::string& text);
  };
  struct ChunkResult {
    std::vector<Moments> moments;                         // by column
    std::vector<std::unordered_set<std::string>> levels;  // by column
    std::vector<ParsedRows::Row> labels;
    std::set<std::string, std::less<>> words;
  };

  void merge(std::uint64_t chunk, ChunkResult result);
  void finish_numeric(std::size_t column, ScaleKind scale, Result& result) const;
  void finish_categorical(std::size_t column, Result& result) const;

  const CsvDraft draft_;
  const std::function<bool(std::uint64_t)> is_training_;
  const CsvCellReader reader_;
  LabelSurvey labels_;
  std::mutex mutex_;  // guards all below
  std::uint64_t next_chunk_ = 0;
  std::map<std::uint64_t, std::vector<Moments>> waiting_;  // chunks whose predecessors are not done
  std::vector<Moments> moments_;
  std::vector<Levels> levels_;
};

}  // namespace virga
