#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "virga/driver/run_report_html.h"

namespace virga {

/// Text plots of the losses over the time of training and, if anything was spent, over dollars, each after an empty
/// line. Empty for fewer than two evaluations.
[[nodiscard]] std::string curve_plots(const std::vector<CurvePoint>& curve, std::size_t width, std::size_t height,
                                      bool unicode);

}  // namespace virga
