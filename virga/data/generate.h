#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "virga/data/import.h"

namespace virga {

enum class SyntheticKind : std::uint8_t { kCtr, kCriteo, kDense };
/// "ctr", "criteo", "dense".
[[nodiscard]] std::string_view to_string(SyntheticKind kind) noexcept;
/// Throws Error(kUsage).
[[nodiscard]] SyntheticKind parse_synthetic_kind(std::string_view text);

struct GenerateOptions {
  SyntheticKind kind = SyntheticKind::kCtr;
  std::uint64_t rows = 1'000'000;
  std::uint64_t seed = 1;
  std::string to;  ///< a file, or the URI of a set (names_a_text_file)
  /// kLibsvm or kCsv. Else by the file's name, or as fits the kind: LIBSVM for ctr, CSV for the others.
  std::optional<SourceFormat> format;
  bool overwrite = false;  ///< of a file or a set
  unsigned threads = 0;    ///< 0: usable_cores()
  std::stop_token stop;
  /// Called on the calling thread, a few times a second.
  std::function<void(std::uint64_t rows, std::uint64_t rows_total)> on_rows;
  /// For a set: how it is imported. Of these, train, to, overwrite, threads and stop are set here.
  ImportOptions import;
};

struct GenerateReport {
  std::uint64_t rows = 0;
  std::uint64_t positive = 0;   ///< rows of label 1
  std::uint64_t bytes = 0;      ///< of the text
  double planted_log_loss = 0;  ///< of the planted model on these rows: no model is expected to do better
  std::optional<ImportReport> import;
};

/// Is `to` a text file (by its ending: .txt, .svm, .libsvm, .csv, .tsv) rather than a set?
[[nodiscard]] bool names_a_text_file(std::string_view to);

/// Writes synthetic rows with a planted logistic model (synthetic.h) as text, or as text to a temporary file which is
/// imported. The text is a pure function of kind, format, rows and seed, and the first rows do not depend on how many
/// follow. Throws Error(kUsage, kConflict, kUnsupported, kIo, kInterrupted); then no file and no set is left behind.
GenerateReport generate(const GenerateOptions& options);

}  // namespace virga
