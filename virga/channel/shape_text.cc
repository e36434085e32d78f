#include "virga/channel/shape_text.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <vector>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/base/units.h"

namespace virga {
namespace {

struct Time {
  std::string_view name;
  std::chrono::nanoseconds& value;
};
struct Probability {
  std::string_view name;
  double& value;
};

double parse_probability(std::string_view text, std::string_view what) {
  double value = 0;
  const auto* const end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value);
  if (result.ec != std::errc() || result.ptr != end || !(value >= 0 && value <= 1)) {
    throw Error(ErrorKind::kUsage, fmt::format("{}: \"{}\" is not a probability", what, text),
                "give a number from 0 to 1, such as 0.01");
  }
  return value;
}

}  // namespace

Shape parse_shape(std::span<const std::string> words, std::string_view what) {
  Shape shape;
  auto& faults = shape.faults;
  const Time times[] = {{"jitter", shape.jitter}, {"late-by", faults.late_by}};
  const Probability probabilities[] = {{"throttled", faults.throttled}, {"cut-off", faults.cut_off},
                                       {"lost", faults.lost},           {"late", faults.late},
                                       {"doubled", faults.doubled},     {"get-cut-off", faults.get_cut_off}};
  std::set<std::string_view> seen;
  for (const std::string_view word : words) {
    const auto equals = std::min(word.find('='), word.size());
    const auto name = word.substr(0, equals);
    const auto value = equals == word.size() ? std::string_view() : word.substr(equals + 1);
    const auto which = fmt::format("{}: {}", what, name);
    if (!seen.insert(name).second) throw Error(ErrorKind::kUsage, which + " is given twice", "give it once");
    bool is_known = false;
    for (const auto& time : times) {
      if (time.name != name) continue;
      time.value = parse_duration(value, which);
      is_known = true;
    }
    for (const auto& probability : probabilities) {
      if (probability.name != name) continue;
      probability.value = parse_probability(value, which);
      is_known = true;
    }
    if (is_known) continue;
    std::vector<std::string> known;
    for (const auto& time : times) known.emplace_back(time.name);
    for (const auto& probability : probabilities) known.emplace_back(probability.name);
    const auto nearest = nearest_word(name, known);
    throw Error(ErrorKind::kUsage, fmt::format("{}: there is no fault \"{}\"", what, name),
                nearest.empty() ? fmt::format("use NAME=VALUE, of {}", fmt::join(known, ", "))
                                : fmt::format("did you mean {}?", nearest));
  }
  if (faults.throttled + faults.cut_off + faults.lost + faults.late + faults.doubled > 1) {
    throw Error(ErrorKind::kUsage,
                fmt::format("{}: the probabilities of a message's fates are more than 1 together", what), "lower them");
  }
  return shape;
}

}  // namespace virga
