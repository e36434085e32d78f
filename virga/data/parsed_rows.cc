#include "virga/data/parsed_rows.h"

#include <algorithm>

#include <fmt/format.h>

namespace virga {

std::string to_string(const BadLine& bad, const std::vector<std::string>& files) {
  return fmt::format("{}:{}:{}: {}", files.at(bad.file), bad.line, bad.column, bad.reason);
}

std::string excerpt(std::string_view text) {
  constexpr std::size_t kLongest = 40;
  auto line = text.substr(0, text.find('\n'));
  if (line.ends_with('\r')) line.remove_suffix(1);
  std::string quoted = "\"";
  for (const char c : line.substr(0, kLongest)) {
    if (c >= ' ' && c <= '~') {
      quoted += c;
    } else {
      quoted += fmt::format("\\x{:02X}", static_cast<unsigned char>(c));
    }
  }
  return quoted + (line.size() > kLongest ? "...\"" : "\"");
}

}  // namespace virga
