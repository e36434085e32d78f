#include "virga/data/raw_reader.h"

#include <algorithm>
#include <utility>

#include "virga/base/error.h"
#include "virga/data/scaling.h"

namespace virga {

RawReader::RawReader(std::vector<std::string> files, Encoding encoding, const RawReaderOptions& options)
    : encoding_(std::move(encoding)),
      options_(options),
      source_(open_encoded_rows(std::move(files), encoding_,
                                {.label_required = options.label_required, .stop = options.stop})),
      builder_({.dense = encoding_.dense, .features = encoding_.features}),
      bad_lines_(options.skip_bad) {
  check(options.rows_per_group > 0, "a group has at least one row");
}
RawReader::~RawReader() = default;

std::optional<RowGroup> RawReader::next() {
  while (next_row_ == parsed_.rows.size()) {
    next_row_ = 0;
    if (!source_->next(parsed_)) {
      parsed_.clear();
      lines_.clear();
      return std::nullopt;
    }
    if (!bad_lines_.add(parsed_, source_->files())) bad_lines_.check();
    unseen_ += parsed_.unseen;
  }
  const auto count = std::min<std::size_t>(options_.rows_per_group, parsed_.rows.size() - next_row_);
  std::vector<RowView> views(count);
  lines_.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto& row = parsed_.rows[next_row_ + i];
    views[i] = {.label = row.label,
                .weight = row.weight,
                .count = row.count,
                .ids = parsed_.ids.data() + row.begin,
                .values = parsed_.values.data() + row.begin,
                .ones = row.ones};
    lines_[i] = row.item + 1;
  }
  next_row_ += count;
  rows_ += count;
  auto group = builder_.build(views);
  scale(encoding_, group);
  return group;
}

}  // namespace virga
