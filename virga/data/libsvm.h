#pragma once

#include <cstdint>
#include <optional>

#include "virga/data/parsed_rows.h"
#include "virga/data/text_source.h"

namespace virga {

/// The text format of LIBSVM, SVMlight and Vowpal Wabbit's cousins: see docs/formats/input.md.
///
///     +1 3:1 17:0.25 204:1   # a comment
constexpr std::uint32_t kLargestLibsvmIndex = 0x7FFFFFFE;

struct LibsvmOptions {
  std::optional<std::uint32_t> index_base;  ///< 0 or 1, if it is known: with 1 an index 0 is a bad line
  bool label_required = true;               ///< or a row may begin with its first feature; its label is then kNoLabel
};

/// Parses the lines of `chunk` into `rows` (emptied first). Ids are the indices as they stand; entries of value 0 are
/// dropped, rows whose indices do not ascend are sorted. Bad lines are left out and described in `rows`.
void parse_libsvm(const TextChunk& chunk, const LibsvmOptions& options, ParsedRows& rows);

/// Does `head`, the beginning of a file, look like this format?
[[nodiscard]] bool looks_like_libsvm(std::string_view head);

}  // namespace virga
