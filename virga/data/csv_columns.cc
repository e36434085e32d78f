#include "virga/data/csv_columns.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/units.h"
#include "virga/data/decimal.h"
#include "virga/data/parsed_rows.h"

namespace virga {
namespace {

using Kind = ColumnEncoding::Kind;
constexpr std::size_t kSampleRows = 10'000;
constexpr std::size_t kMostColumns = 1U << 20;

std::string lower(std::string_view text) {
  std::string result(text);
  for (auto& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

std::string_view without_mark(std::string_view head) {
  constexpr std::string_view kUtf8Mark = "\xEF\xBB\xBF";
  return head.starts_with(kUtf8Mark) ? head.substr(kUtf8Mark.size()) : head;
}

std::string names_of(const std::vector<ColumnEncoding>& columns) {
  std::string list;
  for (std::size_t i = 0; i < std::min<std::size_t>(columns.size(), 10); ++i)
    list += (i > 0 ? ", " : "") + columns[i].name;
  return columns.size() > 10 ? list + ", ..." : list;
}

/// The column that `wanted` names, by name first, then by number from 1.
ColumnEncoding& find_column(std::vector<ColumnEncoding>& columns, const std::string& wanted, std::string_view option) {
  const auto by_name = std::ranges::find(columns, wanted, &ColumnEncoding::name);
  if (by_name != columns.end()) return *by_name;
  const auto number = parse_double(wanted);
  if (number.status == NumberStatus::kOk && number.value >= 1 && number.value <= static_cast<double>(columns.size()) &&
      number.value == std::floor(number.value)) {
    return columns[static_cast<std::size_t>(number.value) - 1];
  }
  std::vector<std::string> names;
  for (const auto& column : columns) names.push_back(column.name);
  const auto near = wanted.size() > 1 ? nearest_word(wanted, names) : std::string();
  throw Error(ErrorKind::kUsage, fmt::format("{}: there is no column \"{}\"", option, wanted),
              near.empty() ? "the columns are " + names_of(columns) : fmt::format("is \"{}\" meant?", near));
}

/// The records of the beginning of a file, a header among them.
struct Sample {
  std::vector<std::vector<std::string>> records;
};

Sample read_sample(std::string_view head, char delimiter) {
  // The last record of the head may be cut off; it counts only if it is the only one.
  const auto end = last_csv_record_end(head, delimiter);
  const auto chunk = make_text_chunk(end > 0 ? head.substr(0, end) : head);
  CsvReader reader(chunk, delimiter);
  std::vector<CsvField> fields;
  Sample sample;
  while (sample.records.size() <= kSampleRows && reader.next(fields)) {
    if (!reader.fault().empty()) continue;
    auto& record = sample.records.emplace_back();
    for (const auto& field : fields) record.emplace_back(field.text);
  }
  return sample;
}

bool looks_like_header(const std::vector<std::string>& record) {
  return std::ranges::none_of(record, [](const std::string& field) {
    return !is_missing(field) && parse_double(field).status == NumberStatus::kOk;
  });
}

void name_columns(const Sample& sample, const std::string& file, Encoding& encoding) {
  const auto& first = sample.records.front();
  if (first.size() > kMostColumns) {
    throw Error(ErrorKind::kTooLarge,
                fmt::format("{}: {} columns; at most {} can be read", file, first.size(), kMostColumns));
  }
  std::unordered_set<std::string> names;
  for (std::size_t i = 0; i < first.size(); ++i) {
    auto name = encoding.header && !first[i].empty() ? first[i] : std::to_string(i + 1);
    if (!names.insert(name).second) {
      throw Error(ErrorKind::kBadData, fmt::format("{}: two columns are called \"{}\"", file, name),
                  "rename one of them in the header");
    }
    encoding.columns.push_back({.name = std::move(name)});
  }
}

/// May a column be the label of a classification? It has a value in every row of the sample, and few different ones.
bool looks_like_classes(const Sample& sample, std::size_t column) {
  constexpr std::size_t kMostDifferent = 100;
  std::unordered_set<std::string> values;
  for (const auto& record : sample.records) {
    if (column >= record.size() || is_missing(record[column])) return false;
    values.insert(record[column]);
    if (values.size() > kMostDifferent) return false;
  }
  return true;
}

/// Returns why that one.
std::string choose_label(const Sample& sample, const CsvOptions& options, Encoding& encoding) {
  auto& columns = encoding.columns;
  if (!options.label.empty()) {
    find_column(columns, options.label, "label").kind = Kind::kLabel;
    return "as given";
  }
  for (const auto* name : {"label", "target", "class", "y"}) {
    for (auto& column : columns) {
      if (lower(column.name) != name) continue;
      column.kind = Kind::kLabel;
      return "by its name";
    }
  }
  // Without names: the last one is the custom, the first one the other custom.
  if (!encoding.header && !looks_like_classes(sample, columns.size() - 1) && looks_like_classes(sample, 0)) {
    columns.front().kind = Kind::kLabel;
    return "the first column, which has few values, while the last one has many";
  }
  columns.back().kind = Kind::kLabel;
  return "the last column";
}

/// The values of a column that are there.
struct ColumnSample {
  std::size_t numbers = 0;
  std::size_t others = 0;
  std::string first_other;

  /// Numeric: all values are numbers. Ignored: there are none.
  [[nodiscard]] Kind kind() const noexcept {
    return others > 0 ? Kind::kCategorical : numbers > 0 ? Kind::kNumeric : Kind::kIgnored;
  }
};

ColumnSample look_at_column(const Sample& sample, std::size_t column, bool header) {
  ColumnSample seen;
  for (std::size_t row = header ? 1 : 0; row < sample.records.size(); ++row) {
    const auto& record = sample.records[row];
    if (column >= record.size() || is_missing(record[column])) continue;
    if (csv_number(record[column])) {
      ++seen.numbers;
    } else if (seen.others++ == 0) {
      seen.first_other = record[column];
    }
  }
  return seen;
}

void choose_kinds(const Sample& sample, const CsvOptions& options, CsvDraft& draft) {
  auto& columns = draft.encoding.columns;
  std::vector<bool> given(columns.size(), false);
  const auto set = [&](const std::vector<std::string>& names, Kind kind, std::string_view option) {
    for (const auto& name : names) {
      auto& column = find_column(columns, name, option);
      const auto index = static_cast<std::size_t>(&column - columns.data());
      if (given[index] || column.kind == Kind::kLabel) {
        throw Error(ErrorKind::kUsage, fmt::format("{}: column \"{}\" is something else already", option, column.name),
                    "name each column once");
      }
      column.kind = kind;
      given[index] = true;
    }
  };
  if (!options.weight.empty()) set({options.weight}, Kind::kWeight, "weight");
  set(options.numeric, Kind::kNumeric, "numeric");
  set(options.categorical, Kind::kCategorical, "categorical");
  set(options.ignored, Kind::kIgnored, "ignore");
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (given[i] || columns[i].kind == Kind::kLabel) continue;
    const auto seen = look_at_column(sample, i, draft.encoding.header);
    columns[i].kind = seen.kind();
    if (columns[i].kind == Kind::kIgnored) draft.empty_columns.push_back(columns[i].name);
    if (seen.others > 0 && seen.numbers > 9 * seen.others) {
      draft.almost_numeric.push_back({columns[i].name, seen.first_other});
    }
  }
}

/// csv_number() the fast way, where the field lies in the chunk with its padding.
std::optional<float> read_number(const CsvField& field) {
  const char* end = field.where;
  float value = 0;
  if (field.text.data() == field.where && read_float_fast(end, value) && end == field.text.data() + field.text.size()) {
    return value;
  }
  return csv_number(field.text);
}

[[noreturn]] void fail_file(const std::string& file, const std::string& reason, std::string remedy) {
  throw Error(ErrorKind::kBadData, fmt::format("{}: {}", file, reason), std::move(remedy));
}

}  // namespace

bool is_missing(std::string_view text) noexcept {
  constexpr std::array<std::string_view, 4> kWords = {"na", "n/a", "nan", "null"};
  if (text.empty() || text == "?") return true;
  if (text.size() > 4) return false;
  std::array<char, 4> word{};
  for (std::size_t i = 0; i < text.size(); ++i) {
    word[i] = text[i] >= 'A' && text[i] <= 'Z' ? static_cast<char>(text[i] - 'A' + 'a') : text[i];
  }
  return std::ranges::find(kWords, std::string_view(word.data(), text.size())) != kWords.end();
}

std::optional<float> csv_number(std::string_view field) {
  const auto parsed = parse_float(field);
  if (parsed.status == NumberStatus::kOk) return parsed.value;
  if (is_missing(field)) return std::numeric_limits<float>::quiet_NaN();
  return std::nullopt;
}

CsvDraft draft_csv(std::string_view head, const std::string& file, const CsvOptions& options) {
  head = without_mark(head);
  CsvDraft draft;
  auto& encoding = draft.encoding;
  encoding.format = SourceFormat::kCsv;
  encoding.missing = options.missing;
  encoding.delimiter = options.delimiter.value_or(detect_delimiter(head));
  const auto sample = read_sample(head, encoding.delimiter);
  if (sample.records.empty()) fail_file(file, "there are no records in it", "check the path and the format");
  encoding.header = options.header.value_or(looks_like_header(sample.records.front()));
  name_columns(sample, file, encoding);
  if (encoding.columns.size() < 2) {
    fail_file(file, "it has one column; a label and a feature are needed", "check the delimiter and the format");
  }
  draft.label_reason = choose_label(sample, options, encoding);
  choose_kinds(sample, options, draft);
  for (std::size_t i = 0; i < encoding.columns.size(); ++i) {
    if (encoding.columns[i].kind != Kind::kLabel) continue;
    draft.label_is_word = look_at_column(sample, i, encoding.header).kind() == Kind::kCategorical;
  }
  return draft;
}

CsvText::CsvText(std::vector<std::string> files, const Encoding& encoding, const RowSourceOptions& options)
    : encoding_(encoding),
      label_required_(options.label_required),
      text_(std::move(files),
            {.last_record_end = [delimiter = encoding.delimiter](
                                    std::string_view text) { return last_csv_record_end(text, delimiter); },
             .stop = options.stop}) {}

std::optional<CsvChunk> CsvText::next() {
  const std::lock_guard lock(mutex_);
  auto text = text_.next();
  if (!text) return std::nullopt;
  const bool first = text->first_line == 1;
  if (first) {
    // Blanks instead of the mark of UTF-8, which is no part of the first name.
    if (without_mark(text->text()).size() < text->size) std::fill_n(text->buffer.get(), 3, ' ');
    layout_ = std::make_shared<CsvLayout>(layout_of(*text));
  }
  return CsvChunk{.text = std::move(*text), .layout = layout_, .header = first && encoding_.header};
}

CsvLayout CsvText::layout_of(const TextChunk& chunk) const {
  const auto& file = text_.files()[chunk.file];
  CsvReader reader(chunk, encoding_.delimiter);
  std::vector<CsvField> fields;
  CsvLayout layout;
  if (!reader.next(fields)) return layout;
  if (!reader.fault().empty() && encoding_.header) fail_file(file, "its header is malformed", "mend the first line");
  layout.fields = fields.size();
  const auto& columns = encoding_.columns;
  if (!encoding_.header) {
    // Without names the number of fields must tell whether the label is there.
    std::size_t next = 0;
    const bool unlabelled = !label_required_ && fields.size() + 1 == columns.size();
    for (const auto& column : columns) {
      layout.columns.push_back(unlabelled && column.kind == Kind::kLabel ? CsvLayout::kAbsent : next++);
    }
    layout.fields = next;
    return layout;
  }
  std::unordered_map<std::string, std::size_t> places;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    // Nameless columns are called by their numbers.
    places.emplace(fields[i].text.empty() ? std::to_string(i + 1) : std::string(fields[i].text), i);
  }
  for (const auto& column : columns) {
    const auto found = places.find(column.name);
    layout.columns.push_back(found == places.end() ? CsvLayout::kAbsent : found->second);
    const bool needed =
        column.kind == Kind::kLabel ? label_required_ : column.kind != Kind::kIgnored && column.kind != Kind::kWeight;
    if (found == places.end() && needed) {
      fail_file(file, fmt::format("there is no column \"{}\" in its header", column.name),
                "it needs the columns of the training data");
    }
  }
  return layout;
}

CsvCellReader::CsvCellReader(const Encoding& encoding, bool label_is_word, bool label_required)
    : encoding_(encoding), label_is_word_(label_is_word), label_required_(label_required) {}

bool CsvCellReader::read(const std::vector<CsvField>& fields, const CsvLayout& layout, CsvCells& cells,
                         Fault& fault) const {
  if (fields.size() != layout.fields) {
    fault = {fields.front().where, fmt::format("{} field{}, but there are {} columns", fields.size(),
                                               fields.size() == 1 ? "" : "s", layout.fields)};
    return false;
  }
  const auto count = encoding_.columns.size();
  cells.label = ParsedRows::kNoLabel;
  cells.label_text = {};
  cells.weight = 1;
  cells.numbers.resize(count);
  cells.texts.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    if (layout.columns[i] != CsvLayout::kAbsent && !read_column(i, fields[layout.columns[i]], cells, fault))
      return false;
  }
  return true;
}

bool CsvCellReader::read_label(const CsvField& field, CsvCells& cells, Fault& fault) const {
  cells.label_text = field.text;
  if (is_missing(field.text)) {
    if (label_required_) fault = {field.where, fmt::format("the label is missing: {}", excerpt(field.text))};
    return !label_required_;
  }
  if (label_is_word_) return true;
  const auto parsed = parse_double(field.text);
  cells.label = parsed.value;
  if (parsed.status == NumberStatus::kOk) return true;
  cells.label = ParsedRows::kNoLabel;
  if (label_required_)
    fault = {field.where, fmt::format("the label {}: {}", describe(parsed.status), excerpt(field.text))};
  return !label_required_;
}

bool CsvCellReader::read_column(std::size_t column, const CsvField& field, CsvCells& cells, Fault& fault) const {
  const auto& name = encoding_.columns[column].name;
  const bool refuses_missing = encoding_.missing == MissingPolicy::kError;
  switch (encoding_.columns[column].kind) {
    case Kind::kIgnored:
      return true;
    case Kind::kLabel:
      return read_label(field, cells, fault);
    case Kind::kWeight: {
      const auto weight = parse_float(field.text);
      cells.weight = weight.value;
      if (weight.status == NumberStatus::kOk && weight.value >= 0) return true;
      fault = {field.where,
               fmt::format("column \"{}\": no weight (a number from 0 on): {}", name, excerpt(field.text))};
      return false;
    }
    case Kind::kNumeric: {
      const auto number = read_number(field);
      cells.numbers[column] = number.value_or(0);
      if (number && !(refuses_missing && *number != *number)) return true;
      fault = {field.where,
               number ? fmt::format("column \"{}\" is numeric, but the value is missing: {}", name, excerpt(field.text))
                      : fmt::format("column \"{}\" is numeric, but the value {}: {} (if it is a category, give "
                                    "--categorical {})",
                                    name, describe(parse_float(field.text).status), excerpt(field.text), name)};
      return false;
    }
    case Kind::kCategorical:
    case Kind::kHashed:
      cells.texts[column] = field.text;
      if (!refuses_missing || !is_missing(field.text)) return true;
      fault = {field.where, fmt::format("column \"{}\": the value is missing: {}", name, excerpt(field.text))};
      return false;
  }
  return true;
}

void read_csv_cells(const CsvChunk& chunk, const Encoding& encoding, const CsvCellReader& cell_reader, ParsedRows& rows,
                    const std::function<std::string(std::uint64_t item, const CsvCells& cells)>& take) {
  CsvReader reader(chunk.text, encoding.delimiter);
  std::vector<CsvField> fields;
  CsvCells cells;
  CsvCellReader::Fault fault;
  if (chunk.header) static_cast<void>(reader.next(fields));
  const auto refuse = [&](const char* where, std::string reason) {
    const auto position = reader.position(where);
    rows.add_bad_line({chunk.text.file, chunk.text.first_line + position.line, position.column, std::move(reason)});
  };
  while (reader.next(fields)) {
    if (!reader.fault().empty()) {
      refuse(reader.fault_position(), reader.fault());
    } else if (!cell_reader.read(fields, *chunk.layout, cells, fault)) {
      refuse(fault.where, fault.reason);
    } else if (auto reason = take(chunk.text.first_item + reader.line(), cells); !reason.empty()) {
      refuse(fields.front().where, std::move(reason));
    }
  }
}

}  // namespace virga
