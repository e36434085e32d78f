#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <string_view>

#include "virga/base/error.h"
#include "virga/data/csv_survey.h"

namespace virga {
namespace {

/// Records lie in the text, in order.
void read_records(const TextChunk& chunk, char delimiter) {
  CsvReader reader(chunk, delimiter);
  std::vector<CsvField> fields;
  std::uint64_t next_line = 0;
  while (reader.next(fields)) {
    check(reader.line() >= next_line && reader.line() < chunk.lines, "records are numbered by their lines");
    next_line = reader.line() + 1;
    if (!reader.fault().empty()) {
      static_cast<void>(reader.position(reader.fault_position()));
      continue;
    }
    check(!fields.empty(), "a record has fields");
    for (const auto& field : fields) {
      check(field.where >= chunk.buffer.get() && field.where <= chunk.buffer.get() + chunk.size,
            "fields lie in the text");
    }
  }
  check(last_csv_record_end(chunk.text(), delimiter) <= chunk.size, "a cut lies in the text");
}

/// The whole way from the first bytes to an encoding.
void survey(std::string_view text) {
  try {
    const auto draft = draft_csv(text, "fuzz", {});
    CsvLayout layout{.fields = draft.encoding.columns.size(), .columns = {}};
    layout.columns.resize(layout.fields);
    std::iota(layout.columns.begin(), layout.columns.end(), std::size_t{0});
    CsvChunk chunk{
        .text = make_text_chunk(text), .layout = std::make_shared<CsvLayout>(layout), .header = draft.encoding.header};
    CsvSurvey survey(draft, [](std::uint64_t item) { return item % 4 != 0; });
    ParsedRows rows;
    survey.add(chunk, rows);
    const auto result = survey.finish(std::nullopt, ScaleKind::kStandardise);
    check_encoding(result.encoding, "fuzz");
  } catch (const Error& error) {
    check(error.kind() != ErrorKind::kCorrupt, "a survey gives an encoding that fits together");
  }
}

}  // namespace
}  // namespace virga

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto chunk = virga::make_text_chunk(text);
  for (const char delimiter : {',', ';', '\t'}) virga::read_records(chunk, delimiter);
  static_cast<void>(virga::detect_delimiter(text));
  virga::survey(text);
  return 0;
}
