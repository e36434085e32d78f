#include "virga/data/csv_rows.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/hash.h"
#include "virga/data/class_labels.h"

namespace virga {
namespace {

using Kind = ColumnEncoding::Kind;

struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>()(text); }
};
using TextIndex = std::unordered_map<std::string, std::uint32_t, TextHash, std::equal_to<>>;

TextIndex index_of(const std::vector<std::string>& texts) {
  TextIndex index;
  for (std::uint32_t i = 0; i < texts.size(); ++i) index.emplace(texts[i], i);
  return index;
}

class CsvRows final : public RowSource {
 public:
  CsvRows(std::vector<std::string> files, const Encoding& encoding, const RowSourceOptions& options)
      : encoding_(encoding),
        label_required_(options.label_required),
        labels_(class_labels(encoding)),
        classes_(index_of(encoding.classes)),
        reader_(encoding, labels_.empty() && encoding.task != Task::kRegression, options.label_required),
        text_(std::move(files), encoding, options) {
    for (const auto& column : encoding.columns) levels_.push_back(index_of(column.levels));
  }

  bool next(ParsedRows& rows) override {
    const auto chunk = text_.next();
    if (!chunk) return false;
    rows.clear();
    std::size_t entries = 0;
    std::string text;
    read_csv_cells(*chunk, encoding_, reader_, rows, [&](std::uint64_t item, const CsvCells& cells) {
      ParsedRows::Row row{.item = item, .weight = cells.weight, .begin = static_cast<std::uint32_t>(entries)};
      if (!encode_label(cells, row.label) && label_required_) {
        return fmt::format("the label \"{}\" is none of the {} classes of the training data", cells.label_text,
                           encoding_.classes.size());
      }
      reserve(rows, entries + 2 * encoding_.columns.size());
      for (std::size_t i = 0; i < encoding_.columns.size(); ++i) encode_column(i, cells, rows, entries, text);
      row.count = static_cast<std::uint32_t>(entries) - row.begin;
      rows.rows.push_back(row);
      return std::string();
    });
    return true;
  }
  std::uint64_t bytes_read() const noexcept override { return text_.source().bytes_read(); }
  const std::vector<std::string>& files() const noexcept override { return text_.source().files(); }
  const std::vector<SourceInfo>& sources() const noexcept override { return text_.source().sources(); }

 private:
  static void reserve(ParsedRows& rows, std::size_t entries) {
    check(entries <= 0xFFFFFFFFU, "a chunk has fewer than 2^32 values");
    if (rows.ids.size() >= entries) return;
    rows.ids.resize(entries * 2);
    rows.values.resize(entries * 2);
  }

  /// False for a label that is no class. `label` stays kNoLabel if there is none.
  [[nodiscard]] bool encode_label(const CsvCells& cells, double& label) const {
    if (encoding_.task == Task::kRegression) {
      label = cells.label;
      return true;
    }
    if (labels_.empty()) {
      const auto found = classes_.find(cells.label_text);
      if (found == classes_.end()) return false;
      label = found->second;
      return true;
    }
    const auto found = std::ranges::lower_bound(labels_, cells.label);
    if (found == labels_.end() || *found != cells.label) return false;
    label = static_cast<double>(found - labels_.begin());
    return true;
  }

  void encode_column(std::size_t index, const CsvCells& cells, ParsedRows& rows, std::size_t& entries,
                     std::string& text) const {
    const auto& column = encoding_.columns[index];
    const auto put = [&](std::uint32_t feature, float value) {
      rows.ids[entries] = column.first_feature + feature;
      rows.values[entries++] = value;
    };
    if (column.kind == Kind::kNumeric) {
      const float number = cells.numbers[index];
      const bool missing = number != number;
      put(0, !missing ? number : encoding_.missing == MissingPolicy::kZero ? 0 : column.mean);
      if (column.has_missing && (missing || encoding_.dense)) put(1, missing ? 1 : 0);
    } else if (column.kind == Kind::kCategorical) {
      const auto found = levels_[index].find(cells.texts[index]);
      const bool unseen = found == levels_[index].end();
      rows.unseen += unseen ? 1 : 0;
      put(unseen ? column.features - 1 : found->second, 1);
    } else if (column.kind == Kind::kHashed) {
      text = column.name;
      text += '=';
      text += cells.texts[index];
      put(murmur3_x86_32(text) & (column.features - 1), 1);
    }
  }

  const Encoding& encoding_;
  const bool label_required_;
  const std::vector<double> labels_;
  const TextIndex classes_;
  const CsvCellReader reader_;
  std::vector<TextIndex> levels_;  // by column
  CsvText text_;
};

}  // namespace

std::unique_ptr<RowSource> open_csv_rows(std::vector<std::string> files, const Encoding& encoding,
                                         const RowSourceOptions& options) {
  return std::make_unique<CsvRows>(std::move(files), encoding, options);
}

}  // namespace virga
