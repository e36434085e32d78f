#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace virga {

struct Series {
  std::string name;
  char mark = '*';
  std::vector<std::optional<double>> values;  ///< at x = 1, 2, ...; absent: nothing is drawn
};

/// A text plot of the series over one axis: `height` lines of at most `width` columns, with the axis, its ends and a
/// legend below. Later series are drawn over earlier ones. Empty when fewer than two points are to be drawn.
[[nodiscard]] std::string plot(const std::vector<Series>& series, std::size_t width, std::size_t height,
                               const std::string& x_name, bool unicode);

/// The same over `x`, in growing order, finite: value i of each series stands at x[i], and the ends of the axis are
/// `first` and `last`, x[0] and the last x as people write them.
[[nodiscard]] std::string plot_over(const std::vector<Series>& series, const std::vector<double>& x, std::size_t width,
                                    std::size_t height, const std::string& x_name, const std::string& first,
                                    const std::string& last, bool unicode);

}  // namespace virga
