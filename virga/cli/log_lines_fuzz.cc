// Logs that functions may write: whatever they hold, no byte of a line is lost, and how the text is cut is no matter.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "virga/base/error.h"
#include "virga/cli/log_lines.h"

namespace {

using Lines = std::vector<virga::LogLine>;

Lines lines_of(std::string_view text, std::size_t part) {
  virga::LogReader reader("virga-run-000001");
  Lines all;
  const auto take = [&](const Lines& some) { all.insert(all.end(), some.begin(), some.end()); };
  for (std::size_t at = 0; at < text.size(); at += part) take(reader.read(text.substr(at, part)));
  take(reader.rest());
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto whole = lines_of(text, std::max<std::size_t>(size, 1));
  virga::check(whole == lines_of(text, 7), "lines do not depend on how the text comes");
  for (const auto& line : whole) {
    const bool harmless = std::ranges::none_of(
        line.text, [](char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f; });
    virga::check(harmless, "no line commands a terminal");
  }
  return 0;
}
