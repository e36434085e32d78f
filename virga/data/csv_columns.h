#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "virga/data/csv.h"
#include "virga/data/encoding.h"
#include "virga/data/row_source.h"

namespace virga {

/// What the user says about the columns of a CSV file. Columns are named by their names, or by their numbers from 1.
struct CsvOptions {
  std::optional<char> delimiter;
  std::optional<bool> header;
  /// Empty: the column called label, target, class or y, else the last one; or the first one, if there is no header and
  /// only the first looks like classes.
  std::string label;
  std::string weight;  ///< empty: none
  std::vector<std::string> numeric;
  std::vector<std::string> categorical;
  std::vector<std::string> ignored;
  MissingPolicy missing = MissingPolicy::kIndicator;
};

/// Does `text` stand for a value that is missing? Nothing, ?, NA, N/A, NaN, null in any case.
[[nodiscard]] bool is_missing(std::string_view text) noexcept;

/// A field as a number, NaN if it is missing, nothing if it is neither a finite number nor missing.
[[nodiscard]] std::optional<float> csv_number(std::string_view field);

/// The columns of a file as its first rows (at most 10,000 of `head`, the beginning of the file) show them: format,
/// delimiter, header, missing and columns with their kinds; numeric is what has only numbers. Features are not assigned
/// yet. Columns without a header are called "1", "2", ... Throws Error(kBadData, kUsage).
struct CsvDraft {
  Encoding encoding;
  bool label_is_word = false;              ///< there is a label that is no number
  std::string label_reason;                ///< how the label column was found
  std::vector<std::string> empty_columns;  ///< without any value there, and so ignored
  /// Taken as categorical although most values there are numbers.
  struct AlmostNumeric {
    std::string name;
    std::string text;  ///< the first that is none
  };
  std::vector<AlmostNumeric> almost_numeric;
};
[[nodiscard]] CsvDraft draft_csv(std::string_view head, const std::string& file, const CsvOptions& options);

/// Where the columns of an encoding stand in the records of one file.
struct CsvLayout {
  static constexpr std::size_t kAbsent = static_cast<std::size_t>(-1);
  std::size_t fields = 0;            ///< of a record
  std::vector<std::size_t> columns;  ///< by column: index of its field, or kAbsent
};

/// A chunk of a CSV file and what its records look like.
struct CsvChunk {
  TextChunk text;
  std::shared_ptr<const CsvLayout> layout;
  bool header = false;  ///< its first record is the header
};

/// CSV files in chunks that end with records; their headers are matched with the columns of `encoding` by name.
class CsvText {
 public:
  /// `encoding` is borrowed.
  CsvText(std::vector<std::string> files, const Encoding& encoding, const RowSourceOptions& options);

  /// Any thread. Throws what TextSource::next throws, and Error(kBadData) for a file whose columns do not fit.
  [[nodiscard]] std::optional<CsvChunk> next();
  [[nodiscard]] const TextSource& source() const noexcept { return text_; }

 private:
  [[nodiscard]] CsvLayout layout_of(const TextChunk& chunk) const;

  const Encoding& encoding_;
  const bool label_required_;
  TextSource text_;
  std::mutex mutex_;  // guards the order of chunks and layout_
  std::shared_ptr<const CsvLayout> layout_;
};

/// One record with its values as its columns want them.
struct CsvCells {
  double label = ParsedRows::kNoLabel;
  std::string_view label_text;
  float weight = 1;
  std::vector<float> numbers;           ///< by column: numeric ones; NaN where it is missing
  std::vector<std::string_view> texts;  ///< by column: categorical and hashed ones
};

/// Turns records into cells.
class CsvCellReader {
 public:
  /// `encoding` is borrowed; of it only the kinds of columns and the policy for missing values are looked at.
  CsvCellReader(const Encoding& encoding, bool label_is_word, bool label_required);

  /// Fills `cells`, or says in `fault` what is wrong and where.
  struct Fault {
    const char* where = nullptr;
    std::string reason;
  };
  [[nodiscard]] bool read(const std::vector<CsvField>& fields, const CsvLayout& layout, CsvCells& cells,
                          Fault& fault) const;

 private:
  [[nodiscard]] bool read_label(const CsvField& field, CsvCells& cells, Fault& fault) const;
  [[nodiscard]] bool read_column(std::size_t column, const CsvField& field, CsvCells& cells, Fault& fault) const;

  const Encoding& encoding_;
  const bool label_is_word_;
  const bool label_required_;
};

/// Reads the records of a chunk and hands their cells to `take(item, cells)`, which returns the reason for which it
/// refuses them, or nothing; bad lines go to `rows`.
void read_csv_cells(const CsvChunk& chunk, const Encoding& encoding, const CsvCellReader& reader, ParsedRows& rows,
                    const std::function<std::string(std::uint64_t item, const CsvCells& cells)>& take);

}  // namespace virga
