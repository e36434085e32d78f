#include "virga/data/decimal.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <system_error>

namespace virga {
namespace {

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

/// Is a number whose magnitude std::from_chars refuses too small rather than too large? Decided by the place of its
/// first digit other than 0. `token` is a number without sign.
bool is_tiny(std::string_view token) noexcept {
  long long place = 0;  // of the first non-zero digit: 10^place
  bool point = false;
  bool found = false;
  std::size_t i = 0;
  for (; i < token.size() && (is_digit(token[i]) || token[i] == '.'); ++i) {
    if (token[i] == '.') {
      point = true;
    } else if (!found) {
      found = token[i] != '0';
      if (point) --place;
    } else if (!point) {
      ++place;
    }
  }
  if (i == token.size()) return place < 0;
  const bool negative = i + 1 < token.size() && token[i + 1] == '-';
  long long exponent = 0;
  for (++i; i < token.size(); ++i) {
    if (is_digit(token[i]) && exponent < 1'000'000'000'000) exponent = exponent * 10 + (token[i] - '0');
  }
  return place + (negative ? -exponent : exponent) < 0;
}

template <typename Float, typename Parsed>
Parsed parse(std::string_view token) noexcept {
  const bool negative = token.starts_with('-');
  if (negative || token.starts_with('+')) token.remove_prefix(1);
  if (token.empty() || token.front() == '-') return {0, NumberStatus::kMalformed};
  Float value = 0;
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), value);
  if (error == std::errc::invalid_argument || end != token.data() + token.size()) return {0, NumberStatus::kMalformed};
  if (error == std::errc::result_out_of_range) {
    if (!is_tiny(token)) return {0, NumberStatus::kTooLarge};
    value = 0;
  }
  if (!std::isfinite(value)) {
    return {0, is_digit(token.front()) || token.front() == '.' ? NumberStatus::kTooLarge : NumberStatus::kNotFinite};
  }
  return {negative ? -value : value, NumberStatus::kOk};
}

}  // namespace

ParsedFloat parse_float(std::string_view token) noexcept { return parse<float, ParsedFloat>(token); }
ParsedDouble parse_double(std::string_view token) noexcept { return parse<double, ParsedDouble>(token); }

std::string_view describe(NumberStatus status) noexcept {
  switch (status) {
    case NumberStatus::kOk:
      return "";
    case NumberStatus::kMalformed:
      return "is not a number";
    case NumberStatus::kNotFinite:
      return "is not finite";
    case NumberStatus::kTooLarge:
      return "is too large";
  }
  return "";
}

}  // namespace virga
