#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "virga/batch/row_group.h"
#include "virga/data/bad_lines.h"
#include "virga/data/encoding.h"
#include "virga/data/group_builder.h"
#include "virga/data/row_source.h"

namespace virga {

struct RawReaderOptions {
  bool label_required = false;  ///< false: labels that are missing or unknown are NaN
  std::uint64_t skip_bad = 0;
  std::uint32_t rows_per_group = 1000;
  std::stop_token stop;
};

/// Raw rows (LIBSVM, CSV, IDX files; "-" is the standard input) as feature vectors of an encoding, scaled: what a model
/// predicts from. Files are read and unpacked on another thread, parsed on the calling one; the order of rows is kept.
/// Holds a few chunks of 4 MiB.
class RawReader {
 public:
  /// Throws what open_encoded_rows() throws.
  RawReader(std::vector<std::string> files, Encoding encoding, const RawReaderOptions& options = {});
  ~RawReader();
  RawReader(const RawReader&) = delete;
  RawReader& operator=(const RawReader&) = delete;

  /// The next rows, at least one and at most rows_per_group; nothing at the end. Throws Error(kBadData) for bad lines
  /// beyond skip_bad, kNotFound, kIo, kInterrupted.
  [[nodiscard]] std::optional<RowGroup> next();

  /// The lines (images) of the rows that next() gave last, counted from 1 over all files.
  [[nodiscard]] const std::vector<std::uint64_t>& lines() const noexcept { return lines_; }

  [[nodiscard]] std::uint64_t rows() const noexcept { return rows_; }  ///< so far
  /// Features and levels that the encoding does not know: LIBSVM drops them, CSV has a feature for them.
  [[nodiscard]] std::uint64_t unseen() const noexcept { return unseen_; }
  [[nodiscard]] const BadLines& bad_lines() const noexcept { return bad_lines_; }

 private:
  const Encoding encoding_;
  const RawReaderOptions options_;
  std::unique_ptr<RowSource> source_;
  GroupBuilder builder_;
  BadLines bad_lines_;
  ParsedRows parsed_;
  std::size_t next_row_ = 0;  // of parsed_
  std::vector<std::uint64_t> lines_;
  std::uint64_t rows_ = 0;
  std::uint64_t unseen_ = 0;
};

}  // namespace virga
