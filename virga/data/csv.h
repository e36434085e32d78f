#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "virga/data/text_source.h"

namespace virga {

/// Comma-, tab- or semicolon-separated values as RFC 4180 has them: fields in double quotes may hold delimiters, line
/// feeds and doubled quotes. Blanks around a field and carriage returns at the end of a line are not part of it. A
/// quote counts as one only at the beginning of a field. See docs/formats/input.md.

/// One field of a record; it looks into the chunk or the reader.
struct CsvField {
  std::string_view text;
  const char* where = nullptr;  ///< its first byte in the chunk
};

/// Reads the records of one chunk, one after the other.
class CsvReader {
 public:
  /// `chunk` is borrowed and begins with a record.
  CsvReader(const TextChunk& chunk, char delimiter);

  /// The next record, which is not a blank line; false at the end. If it is malformed, fault() says why, `fields` is
  /// useless, and reading goes on with the line behind the fault. Fields live until the next call.
  [[nodiscard]] bool next(std::vector<CsvField>& fields);

  /// Of the record that next() gave: its first line, counted from 0 in the chunk, and where the record begins.
  [[nodiscard]] std::uint64_t line() const noexcept { return line_; }
  /// Empty, or what is wrong with it and where.
  [[nodiscard]] const std::string& fault() const noexcept { return fault_; }
  [[nodiscard]] const char* fault_position() const noexcept { return fault_position_; }
  /// Line in the chunk (from 0) and byte in the line (from 1) of a position within the record.
  struct Position {
    std::uint64_t line;
    std::uint32_t column;
  };
  [[nodiscard]] Position position(const char* where) const noexcept;

 private:
  [[nodiscard]] const char* read_field(const char* p, CsvField& field);
  [[nodiscard]] const char* read_quoted(const char* p, CsvField& field);
  void fail(const char* where, std::string_view reason);

  const char* next_;
  const char* const end_;  // a line feed stands there
  const char delimiter_;
  const char* begin_ = nullptr;  // of the record
  std::uint64_t line_ = 0;
  std::uint64_t next_line_ = 0;
  std::string fault_;
  const char* fault_position_ = nullptr;
  std::deque<std::string> unescaped_;  // fields of the record that had doubled quotes
};

/// Where the last whole record of `text` ends; 0 if none does. `text` begins with a record.
[[nodiscard]] std::size_t last_csv_record_end(std::string_view text, char delimiter);

/// Tab, semicolon or comma: the one that splits most of the first lines into the same number (> 1) of fields; a comma
/// where there is only one column.
[[nodiscard]] char detect_delimiter(std::string_view head);

}  // namespace virga
