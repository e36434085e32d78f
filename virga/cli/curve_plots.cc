#include "virga/cli/curve_plots.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "virga/base/units.h"
#include "virga/cli/plot.h"

namespace virga {
namespace {

std::string duration_text(double seconds) {
  return format_duration(std::chrono::nanoseconds(std::llround(std::clamp(seconds, 0.0, 9e9) * 1e9)));
}

std::string after_empty_line(const std::string& drawn) { return drawn.empty() ? drawn : "\n" + drawn; }

}  // namespace

std::string curve_plots(const std::vector<CurvePoint>& curve, std::size_t width, std::size_t height, bool unicode) {
  if (curve.size() < 2) return {};
  Series train{.name = "training loss", .mark = 'o', .values = {}};
  Series validation{.name = "validation loss", .mark = '*', .values = {}};
  std::vector<double> seconds;
  std::vector<double> dollars;
  for (const auto& point : curve) {
    train.values.push_back(point.entry.train_loss);
    validation.values.push_back(point.entry.validation_loss);
    seconds.push_back(point.entry.seconds);
    dollars.push_back(point.usd.dollars());
  }
  auto text = after_empty_line(plot_over({train, validation}, seconds, width, height, "time of training",
                                         duration_text(seconds.front()), duration_text(seconds.back()), unicode));
  if (curve.back().usd == Usd()) return text;
  return text + after_empty_line(plot_over({train, validation}, dollars, width, height, "dollars",
                                           format_usd(curve.front().usd), format_usd(curve.back().usd), unicode));
}

}  // namespace virga
