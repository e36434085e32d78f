#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "virga/data/bad_lines.h"
#include "virga/data/csv_survey.h"
#include "virga/data/manifest.h"

namespace virga {

/// How far an import is. Phases follow each other once for the training files and once for each further split.
struct ImportProgress {
  enum class Phase : std::uint8_t {
    kSurvey,  ///< CSV only: which columns, levels and labels there are
    kRead,    ///< rows are parsed and shuffled
    kWrite,   ///< rows become blocks
  };
  Phase phase = Phase::kRead;
  std::uint64_t bytes_done = 0;   ///< of the source files, as stored; 0 in kWrite
  std::uint64_t bytes_total = 0;  ///< 0 where it is not known (a pipe)
  std::uint64_t rows = 0;         ///< done in this phase
  std::uint64_t rows_total = 0;   ///< in kWrite; else 0
  double seconds = 0;             ///< since the phase began
};
[[nodiscard]] std::string_view to_string(ImportProgress::Phase phase) noexcept;

struct ImportOptions {
  std::vector<std::string> train;  ///< files, or one directory of IDX files
  std::vector<std::string> validation;
  std::vector<std::string> test;
  std::string to;  ///< URI of the set

  std::optional<SourceFormat> format;         ///< else by content
  std::optional<Task> task;                   ///< else by the labels (LabelSurvey)
  std::optional<ScaleKind> scale;             ///< else max-abs for LIBSVM, standardise for CSV, 1/255 for IDX
  std::optional<double> validation_fraction;  ///< else 0.1, or 0 if there are validation files
  std::uint64_t seed = 1;
  std::uint64_t skip_bad = 0;               ///< how many bad lines are tolerated
  bool overwrite = false;                   ///< replace a set that is there already
  std::optional<std::uint32_t> index_base;  ///< LIBSVM: 0 or 1; else 0 if an index 0 occurs
  CsvOptions csv;

  std::uint32_t rows_per_group = 1000;
  std::uint64_t memory_bytes = std::uint64_t{256} << 20;  ///< about 20 MiB more are used for each thread
  unsigned threads = 0;                                   ///< 0: usable_cores()
  std::string created_by = "virga";
  std::string source_name;  ///< stands in the manifest instead of the path of a single training file
  std::stop_token stop;
  /// Called on the calling thread, a few times a second.
  std::function<void(const ImportProgress&)> on_progress;
};

struct ImportReport {
  Manifest manifest;
  std::vector<std::string> first_bad_lines;   ///< of the skipped ones, as FILE:LINE:COLUMN: REASON
  std::string label_column;                   ///< CSV
  std::string label_reason;                   ///< CSV: why that one
  std::vector<std::string> constant_columns;  ///< CSV: columns that teach nothing
  std::vector<HashedColumn> hashed_columns;   ///< CSV
  std::vector<std::string> empty_columns;     ///< CSV: without a value in the first rows, and so ignored
  std::vector<CsvDraft::AlmostNumeric> almost_numeric_columns;  ///< CSV: taken as categorical
  std::uint64_t unseen = 0;         ///< values in validation and test files that the training data lack
  std::uint64_t spilled_bytes = 0;  ///< through the temporary file
};

/// Reads files, draws splits, shuffles, encodes and stores a set: blocks first, the manifest last, so that what is cut
/// off is no set. Bad input is found before a set that is to be replaced is touched. The set is a pure function of the
/// files' content, the options and the seed, not of threads or memory: rows are ordered by random numbers of their
/// lines. See docs/import.md.
///
/// Throws Error: kUsage for options that make no sense, kConflict for a set that is there already, kNotFound, kIo,
/// kBadData (bad lines as FILE:LINE:COLUMN: REASON), kUnsupported, kTooLarge, kInterrupted. Then nothing that looks
/// whole is left at the destination, and no temporary file.
ImportReport import_set(const ImportOptions& options);

/// The format of a file or directory, by its content: IDX by its first bytes, LIBSVM by its first lines, else CSV.
[[nodiscard]] SourceFormat detect_format(const std::string& path);

}  // namespace virga
