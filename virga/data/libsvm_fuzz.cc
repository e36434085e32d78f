#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "virga/base/error.h"
#include "virga/data/libsvm.h"

namespace virga {
namespace {

/// What is parsed is what later stages rely on.
void check_rows(const TextChunk& chunk, const LibsvmOptions& options) {
  ParsedRows rows;
  parse_libsvm(chunk, options, rows);
  check(rows.rows.size() + rows.bad_lines <= chunk.lines, "a line gives one row or one fault");
  std::uint64_t next_item = 0;
  for (const auto& row : rows.rows) {
    check(row.item >= next_item && row.item < chunk.lines, "rows are numbered by their lines");
    next_item = row.item + 1;
    check(std::isfinite(row.label) || !options.label_required, "a label is finite");
    bool ones = true;
    for (auto i = row.begin; i < row.begin + row.count; ++i) {
      check(rows.ids[i] <= kLargestLibsvmIndex, "an index is within its bound");
      check(i == row.begin || rows.ids[i] > rows.ids[i - 1], "indices ascend");
      check(std::isfinite(rows.values[i]) && rows.values[i] != 0, "values are finite and not 0");
      ones = ones && rows.values[i] == 1;
    }
    check(ones || !row.ones, "ones are ones");
  }
  for (const auto& bad : rows.first_bad_lines) {
    check(bad.line >= 1 && bad.line <= chunk.lines && bad.column >= 1, "a fault lies in the text");
  }
}

}  // namespace
}  // namespace virga

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto chunk = virga::make_text_chunk(text);
  virga::check_rows(chunk, {});
  virga::check_rows(chunk, {.index_base = 1, .label_required = false});
  static_cast<void>(virga::looks_like_libsvm(text));
  return 0;
}
