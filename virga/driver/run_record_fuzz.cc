#include <cstddef>
#include <cstdint>
#include <string_view>

#include "virga/base/error.h"
#include "virga/driver/run_record.h"

// The three files of a record, one after the other, with a line of "---" between them.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::string_view kBetween = "---\n";
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const auto part = [&] {
    const auto end = rest.find(kBetween);
    const auto text = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + kBetween.size());
    return text;
  };
  const auto config = part();
  const auto status = part();
  try {
    static_cast<void>(virga::parse_run(config, status, rest));
  } catch (const virga::Error&) {
  }
  return 0;
}
