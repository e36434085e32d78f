#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace virga {

/// A line that its format does not allow. `reason` quotes what stands there.
struct BadLine {
  std::uint32_t file = 0;    ///< index into the list of files
  std::uint64_t line = 0;    ///< from 1
  std::uint32_t column = 0;  ///< byte in the line, from 1
  std::string reason;
  bool operator==(const BadLine&) const = default;
};

/// "FILE:LINE:COLUMN: REASON".
[[nodiscard]] std::string to_string(const BadLine& bad, const std::vector<std::string>& files);

/// The beginning of `text` up to the end of the line, at most 40 bytes, in quotes; bytes that are no printable ASCII
/// are written as \xHH.
[[nodiscard]] std::string excerpt(std::string_view text);

/// The rows of one chunk of input, as parsed: what parsers give to the import and to the raw reader.
struct ParsedRows {
  static constexpr std::size_t kQuoted = 5;
  static constexpr double kNoLabel = std::numeric_limits<double>::quiet_NaN();

  struct Row {
    std::uint64_t item = 0;  ///< number of its line over all files: names it for random draws
    double label = kNoLabel;
    float weight = 1;
    std::uint32_t begin = 0;  ///< into ids (unless the rows are dense) and values
    std::uint32_t count = 0;
    bool ones = false;  ///< all its values are 1
  };
  std::vector<Row> rows;
  std::vector<std::uint32_t> ids;  ///< ascending in each row; rows say how much of it is in use
  std::vector<float> values;       ///< as ids

  std::uint32_t smallest_id = std::numeric_limits<std::uint32_t>::max();  ///< of all rows
  std::uint32_t largest_id = 0;
  std::uint64_t unseen = 0;  ///< entries that the encoding does not know and that were dropped

  std::uint64_t bad_lines = 0;
  std::vector<BadLine> first_bad_lines;  ///< at most kQuoted

  void add_bad_line(BadLine bad) {
    if (bad_lines++ < kQuoted) first_bad_lines.push_back(std::move(bad));
  }

  /// Empties it for another chunk; ids and values keep their memory.
  void clear() {
    rows.clear();
    smallest_id = std::numeric_limits<std::uint32_t>::max();
    largest_id = 0;
    unseen = 0;
    bad_lines = 0;
    first_bad_lines.clear();
  }
};

}  // namespace virga
