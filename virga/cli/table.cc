#include "virga/cli/table.h"

#include <algorithm>

#include "virga/base/error.h"

namespace virga {

std::size_t text_columns(const std::string& text) noexcept {
  // All bytes but the continuation bytes of UTF-8.
  return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

void Table::add(std::vector<std::string> cells) {
  check(cells.size() == columns_.size(), "a row of a table has a cell for each column");
  for (auto& cell : cells) {
    std::ranges::replace_if(
        cell, [](unsigned char c) { return c < 0x20 || c == 0x7F; }, '?');
  }
  rows_.push_back(std::move(cells));
}

std::string Table::text() const {
  std::vector<std::string> headings;
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    headings.push_back(columns_[c].heading);
    widths.push_back(text_columns(columns_[c].heading));
    for (const auto& row : rows_) widths[c] = std::max(widths[c], text_columns(row[c]));
  }
  std::string text;
  const auto add_line = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (std::size_t c = 0; c < cells.size(); ++c) {
      const std::string padding(widths[c] - text_columns(cells[c]), ' ');
      line += (c == 0 ? "" : "  ") + (columns_[c].right ? padding + cells[c] : cells[c] + padding);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  };
  add_line(headings);
  for (const auto& row : rows_) add_line(row);
  return text;
}

}  // namespace virga
