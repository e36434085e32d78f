#pragma once

#include <bit>
#include <cfloat>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace virga {

/// Text to numbers, always correctly rounded, whatever the locale. The functions that take a bare pointer read 8 bytes
/// at a time: at least kTextPadding readable bytes must follow the text, and a byte that is no digit must end it.

constexpr std::size_t kTextPadding = 64;

/// Up to eight digits at the beginning of a text.
struct DigitRun {
  std::uint32_t value;
  std::uint32_t count;  ///< 0 to 8
};

/// The run of digits at `text`, without a branch on its length: eight bytes are one word, the bytes behind the run are
/// shifted out and leave leading zeros, three multiplications add up the digits by twos, fours and eights.
[[nodiscard]] inline DigitRun read_digits(const char* text) noexcept {
  std::uint64_t word;
  std::memcpy(&word, text, sizeof word);
  word ^= 0x3030303030303030U;  // a digit is now 0 ... 9
  // 0x76 carries any other byte's top bit over; a carry into the next byte can only hit bytes behind the first such.
  const std::uint64_t others = ((word + 0x7676767676767676U) | word) & 0x8080808080808080U;
  const auto count = static_cast<std::uint32_t>(std::countr_zero(others)) / 8;
  word = count == 0 ? 0 : word << (64 - 8 * count);
  word = word * 10 + (word >> 8);
  word = (((word & 0x000000FF000000FFU) * 0x000F424000000064U) +
          (((word >> 16) & 0x000000FF000000FFU) * 0x0000271000000001U)) >>
         32;
  return {static_cast<std::uint32_t>(word), count};
}

enum class NumberStatus : std::uint8_t { kOk, kMalformed, kNotFinite, kTooLarge };

struct ParsedFloat {
  float value = 0;
  NumberStatus status = NumberStatus::kOk;
};
struct ParsedDouble {
  double value = 0;
  NumberStatus status = NumberStatus::kOk;
};

/// All of `token`: sign, digits, point, exponent. What is nearer to 0 than any number is 0. "nan", "inf" and the like
/// are kNotFinite; numbers beyond the type kTooLarge.
[[nodiscard]] ParsedFloat parse_float(std::string_view token) noexcept;
[[nodiscard]] ParsedDouble parse_double(std::string_view token) noexcept;

/// "too large for a 32-bit number", ...; for kOk an empty text.
[[nodiscard]] std::string_view describe(NumberStatus status) noexcept;

constexpr double kPowersOfTen[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                   1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
constexpr std::uint64_t kIntegerPowersOfTen[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};

/// Reads a plain decimal ("12", "-0.5", ".25") at `text` the fast way and moves `text` behind it; false, with `text`
/// and `value` untouched, if only parse_float can tell. Clinger's exact case ("How to read floating point numbers
/// accurately", PLDI 1990): with at most 53 bits of digits and a power of ten below 10^22, one division of doubles is
/// correctly rounded; so is its rounding to a float, unless it lies just between two floats.
[[nodiscard]] inline bool read_float_fast(const char*& text, float& value) noexcept {
  const char* p = text;
  const bool negative = *p == '-';
  p += negative ? 1 : 0;
  const auto whole = read_digits(p);
  p += whole.count;
  std::uint64_t digits = whole.value;
  std::uint32_t decimals = 0;
  if (*p == '.') {
    const auto first = read_digits(++p);
    p += first.count;
    decimals = first.count;
    digits = digits * kIntegerPowersOfTen[first.count] + first.value;
    if (first.count == 8) {
      const auto second = read_digits(p);
      p += second.count;
      decimals += second.count;
      digits = digits * kIntegerPowersOfTen[second.count] + second.value;
      if (second.count == 8) return false;
    }
    // Eight digits before the point and fifteen behind it may not fit a word.
    if (whole.count + decimals > 15) return false;
  }
  if (whole.count == 8 || whole.count + decimals == 0 || (*p | 0x20) == 'e') return false;
  const double exact = static_cast<double>(static_cast<std::int64_t>(digits)) / kPowersOfTen[decimals];
  const bool between_floats = (std::bit_cast<std::uint64_t>(exact) & 0x1FFFFFFFU) == 0x10000000U;
  if (between_floats || (exact < FLT_MIN && digits != 0)) return false;
  text = p;
  value = static_cast<float>(negative ? -exact : exact);
  return true;
}

}  // namespace virga
