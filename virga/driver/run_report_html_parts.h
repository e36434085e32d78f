#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "virga/cost/ledger.h"
#include "virga/cost/summary.h"

namespace virga {

// What the pages of reports are made of; each returns well-formed HTML or SVG, texts escaped.

/// `text` as it may stand in an element or a quoted attribute: & < > " ' are replaced by references, what is not UTF-8
/// and control characters by U+FFFD; newlines and tabs stay.
[[nodiscard]] std::string escape_html(std::string_view text);

struct ChartLine {
  std::string name;
  std::string style;  ///< class of the page's style: "train", "validation", "series0" to "series5"
  std::vector<std::pair<double, double>> points;  ///< (x, y), finite, x growing
};
struct Chart {
  std::string title;
  std::string x_name;
  std::string x_unit;  ///< before the figure if it is "$", else after it
  std::vector<ChartLine> lines;
  std::optional<double> base;  ///< a level to compare with
  std::string base_name;
};
/// A drawing with axes and legend; a sentence instead if no line has a point.
[[nodiscard]] std::string line_chart(const Chart& chart);

/// One row for each worker and one for evaluations, a bar for each invocation from its beginning to its end, divided by
/// what its time went to. Of more than 64 rows or 4,000 bars the first.
[[nodiscard]] std::string worker_timeline(const std::vector<InvocationRecord>& invocations, double wall_seconds);

/// One bar, divided, with a legend that has the figures.
struct Share {
  std::string name;
  std::string style;
  double seconds = 0;
};
[[nodiscard]] std::string share_bar(const std::vector<Share>& shares);

/// `head` and `rows` are escaped here; columns from the second on are figures.
[[nodiscard]] std::string html_table(const std::vector<std::string>& head,
                                     const std::vector<std::vector<std::string>>& rows);

/// A page that stands alone: style inside, no script, nothing that is loaded, light and dark. `title` is escaped here.
[[nodiscard]] std::string html_page(std::string_view title, std::string_view body);

}  // namespace virga
