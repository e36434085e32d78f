#include "virga/data/row_source.h"

#include <algorithm>
#include <functional>
#include <mutex>
#include <utility>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/data/class_labels.h"
#include "virga/data/csv_rows.h"
#include "virga/data/idx.h"
#include "virga/data/libsvm.h"
#include "virga/data/text_source.h"

namespace virga {
namespace {

class LibsvmRows final : public RowSource {
 public:
  LibsvmRows(std::vector<std::string> files, const LibsvmOptions& options, const Encoding* encoding,
             const std::stop_token& stop)
      : options_(options),
        encoding_(encoding),
        labels_(encoding != nullptr ? class_labels(*encoding) : std::vector<double>()),
        text_(std::move(files), {.stop = stop}) {}

  bool next(ParsedRows& rows) override {
    const auto chunk = text_.next();
    if (!chunk) return false;
    parse_libsvm(*chunk, options_, rows);
    if (encoding_ != nullptr) encode(*chunk, rows);
    return true;
  }
  std::uint64_t bytes_read() const noexcept override { return text_.bytes_read(); }
  const std::vector<std::string>& files() const noexcept override { return text_.files(); }
  const std::vector<SourceInfo>& sources() const noexcept override { return text_.sources(); }

 private:
  void encode(const TextChunk& chunk, ParsedRows& rows) const {
    std::vector<BadLine> bad;
    std::size_t kept = 0;
    for (auto row : rows.rows) {
      if (!encode_label(row) && options_.label_required) {
        bad.push_back(
            {chunk.file, chunk.first_line + (row.item - chunk.first_item), 1,
             fmt::format("the label is none of the {} classes of the training data", encoding_->classes.size())});
        continue;
      }
      drop_unknown_features(row, rows);
      rows.rows[kept++] = row;
    }
    rows.rows.resize(kept);
    rows.bad_lines += bad.size();
    auto& first = rows.first_bad_lines;
    first.insert(first.end(), bad.begin(), bad.end());
    std::ranges::sort(first, {}, &BadLine::line);
    first.resize(std::min(first.size(), ParsedRows::kQuoted));
  }

  /// The class of the row's label instead of the label; false, and no label, if there is none.
  [[nodiscard]] bool encode_label(ParsedRows::Row& row) const {
    if (labels_.empty() || row.label != row.label) return true;
    const auto found = std::ranges::lower_bound(labels_, row.label);
    const bool known = found != labels_.end() && *found == row.label;
    row.label = known ? static_cast<double>(found - labels_.begin()) : ParsedRows::kNoLabel;
    return known;
  }

  void drop_unknown_features(ParsedRows::Row& row, ParsedRows& rows) const {
    const std::uint32_t base = encoding_->one_based ? 1 : 0;
    auto* const ids = rows.ids.data() + row.begin;
    for (std::uint32_t i = 0; i < row.count; ++i) ids[i] -= base;
    // They ascend, so the unknown ones are the last ones.
    const auto known = static_cast<std::uint32_t>(std::lower_bound(ids, ids + row.count, encoding_->features) - ids);
    rows.unseen += row.count - known;
    row.count = known;
  }

  const LibsvmOptions options_;
  const Encoding* const encoding_;
  const std::vector<double> labels_;
  TextSource text_;
};

}  // namespace

std::unique_ptr<RowSource> open_libsvm_rows(std::vector<std::string> files, std::optional<std::uint32_t> index_base,
                                            const RowSourceOptions& options) {
  const LibsvmOptions parser{.index_base = index_base, .label_required = options.label_required};
  return std::make_unique<LibsvmRows>(std::move(files), parser, nullptr, options.stop);
}

std::unique_ptr<RowSource> open_encoded_rows(std::vector<std::string> files, const Encoding& encoding,
                                             const RowSourceOptions& options) {
  switch (encoding.format) {
    case SourceFormat::kCsv:
      return open_csv_rows(std::move(files), encoding, options);
    case SourceFormat::kIdx:
      return open_idx_rows(std::move(files), encoding, options);
    case SourceFormat::kLibsvm:
      break;
  }
  const LibsvmOptions parser{.index_base = encoding.one_based ? 1U : 0U, .label_required = options.label_required};
  return std::make_unique<LibsvmRows>(std::move(files), parser, &encoding, options.stop);
}

}  // namespace virga
