#include "virga/data/escape.h"

#include <algorithm>
#include <charconv>
#include <cstdint>

#include <fmt/format.h>

#include "virga/base/error.h"

namespace virga {
namespace {

/// Length of the UTF-8 sequence at the beginning of `text`, or 0 if there is none (Unicode 15, table 3-7: shortest
/// form, no surrogates, at most U+10FFFF).
std::size_t sequence_length(std::string_view text) {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<std::uint8_t>(text[i]) : std::uint8_t{0};
  };
  const auto between = [&](std::size_t i, int low, int high) { return byte(i) >= low && byte(i) <= high; };
  const auto first = byte(0);
  if (first < 0x80) return text.empty() ? 0 : 1;
  if (first < 0xC2 || first > 0xF4) return 0;
  if (first < 0xE0) return between(1, 0x80, 0xBF) ? 2 : 0;
  if (!between(1,
               first == 0xE0   ? 0xA0
               : first == 0xF0 ? 0x90
                               : 0x80,
               first == 0xED   ? 0x9F
               : first == 0xF4 ? 0x8F
                               : 0xBF)) {
    return 0;
  }
  if (!between(2, 0x80, 0xBF)) return 0;
  if (first < 0xF0) return 3;
  return between(3, 0x80, 0xBF) ? 4 : 0;
}

}  // namespace

std::string escape_text(std::string_view bytes) {
  std::string text;
  while (!bytes.empty()) {
    const auto length = sequence_length(bytes);
    if (length == 0 || bytes.front() == '%') {
      text += fmt::format("%{:02X}", static_cast<std::uint8_t>(bytes.front()));
      bytes.remove_prefix(1);
    } else {
      text += bytes.substr(0, length);
      bytes.remove_prefix(length);
    }
  }
  return text;
}

std::string unescape_text(std::string_view text, std::string_view what) {
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      bytes += text[i];
      continue;
    }
    const auto digits = text.substr(i + 1, 2);
    std::uint8_t byte = 0;
    const auto* end = digits.data() + digits.size();
    const auto result = std::from_chars(digits.data(), end, byte, 16);
    if (digits.size() != 2 || result.ec != std::errc() || result.ptr != end) {
      throw Error(ErrorKind::kCorrupt, fmt::format("{}: a '%' without two hexadecimal digits", what));
    }
    bytes += static_cast<char>(byte);
    i += 2;
  }
  return bytes;
}

}  // namespace virga
