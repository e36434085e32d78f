#include "virga/cost/usd.h"

#include <cmath>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {

Usd Usd::of(double dollars) {
  constexpr double kMost = 9e6;
  if (!(dollars >= 0 && dollars <= kMost)) {
    throw Error(ErrorKind::kUsage, fmt::format("{} is no amount of dollars", dollars),
                "amounts are from 0 to 9 million");
  }
  return Usd(std::llround(dollars * 1e12));
}

std::string format_usd(Usd amount) {
  const auto dollars = amount.dollars();
  if (amount == Usd()) return "$0";
  if (std::abs(dollars) >= 1) return fmt::format("${:.2f}", dollars);
  const auto digits = 2 - static_cast<int>(std::floor(std::log10(std::abs(dollars))));
  return fmt::format("${:.{}f}", dollars, digits);
}

}  // namespace virga
