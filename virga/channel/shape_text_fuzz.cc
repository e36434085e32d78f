#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "virga/base/error.h"
#include "virga/channel/service_profile.h"
#include "virga/channel/shape_text.h"

namespace virga {
namespace {

void read_profile(std::string_view text) {
  try {
    const auto profile = find_service_profile(text);
    check(profile.latency > std::chrono::nanoseconds(0) && profile.latency <= std::chrono::minutes(1),
          "a latency is within its bounds");
    check(profile.bytes_per_second >= 1e3 && profile.bytes_per_second <= 1e12, "a bandwidth is within its bounds");
    check(!profile.polled || !profile.straight, "a network is not asked");
  } catch (const Error& error) {
    check(error.kind() == ErrorKind::kUsage, "a profile is refused as wrong usage");
  }
}

/// Words between line breaks.
void read_shape(std::string_view text) {
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin <= text.size();) {
    const auto end = std::min(text.find('\n', begin), text.size());
    words.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  try {
    const auto faults = parse_shape(words, "--faults").faults;
    const double fates = faults.throttled + faults.cut_off + faults.lost + faults.late + faults.doubled;
    check(fates >= 0 && fates <= 1, "a message has one fate");
  } catch (const Error& error) {
    check(error.kind() == ErrorKind::kUsage, "a shape is refused as wrong usage");
  }
}

}  // namespace
}  // namespace virga

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  virga::read_profile(text);
  virga::read_shape(text);
  return 0;
}
