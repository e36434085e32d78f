#include "virga/exchange/check_contribution.h"

#include <algorithm>
#include <cmath>
#include <span>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/finite.h"

namespace virga {
namespace {

/// The first that is not finite; the number of values if all are.
template <typename T>
std::size_t first_bad(std::span<const T> values) {
  return static_cast<std::size_t>(std::ranges::find_if(values, [](T value) { return !std::isfinite(value); }) -
                                  values.begin());
}

}  // namespace

void check_shape(const Contribution& contribution, const Layout& layout, Round round, unsigned rank,
                 std::string_view remedy) {
  if (!std::isfinite(contribution.loss) || !std::isfinite(contribution.weight)) {
    throw Error(ErrorKind::kDiverged, fmt::format("round {}, rank {}: the loss is not finite", round, rank),
                std::string(remedy));
  }
  check(contribution.weight >= 0, "the weight of a contribution is not negative");
  check(contribution.tables.size() == layout.size(), "a contribution has all tables");
  for (std::size_t t = 0; t < layout.size(); ++t) {
    const auto& part = contribution.tables[t];
    const auto count = layout[t].doubles ? part.doubles.size() : part.values.size();
    if (layout[t].sparse) {
      check(count == part.keys.size() * layout[t].width, "a sparse contribution is [keys x width]");
      check(part.keys.empty() || part.keys.back() < layout[t].rows, "the keys of a contribution are rows of the table");
    } else {
      check(count == 0 || count == layout[t].size(), "a whole contribution has all rows or none");
    }
  }
}

void check_finite(const Contribution& contribution, const Layout& layout, Round round, unsigned rank,
                  std::string_view remedy) {
  for (std::size_t t = 0; t < layout.size(); ++t) {
    const auto& part = contribution.tables[t];
    const auto bad = layout[t].doubles
                         ? first_bad(std::span(part.doubles))
                         : (all_finite(part.values) ? part.values.size() : first_bad(std::span(part.values)));
    if (bad == (layout[t].doubles ? part.doubles.size() : part.values.size())) continue;
    const auto row = bad / layout[t].width;
    throw Error(ErrorKind::kDiverged,
                fmt::format("round {}, rank {}: the {} of '{}' is not finite in row {}", round, rank,
                            layout[t].doubles ? "sum" : "gradient", layout[t].name, part.whole ? row : part.keys[row]),
                std::string(remedy));
  }
}

void throw_mean_diverged(Round round) {
  throw Error(ErrorKind::kDiverged, fmt::format("round {}: the mean gradient of all ranks is not finite", round),
              kDivergedRemedy);
}

}  // namespace virga
