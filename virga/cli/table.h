#pragma once

#include <string>
#include <vector>

namespace virga {

/// Text in columns as wide as their widest cell, two spaces apart.
class Table {
 public:
  struct Column {
    std::string heading;
    bool right = false;  ///< numbers
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  /// One cell for each column. Control characters in a cell are shown as '?', so that no file name plays tricks on a
  /// terminal.
  void add(std::vector<std::string> cells);
  [[nodiscard]] std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// Columns that UTF-8 text takes, each code point taken for one.
[[nodiscard]] std::size_t text_columns(const std::string& text) noexcept;

}  // namespace virga
