#include <cstddef>
#include <cstdint>
#include <string_view>

#include "virga/base/error.h"
#include "virga/channel/message_name.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto key = virga::parse_message_name(text)) {
    virga::check(virga::message_name(*key) == text, "a name means what another one means");
  }
  return 0;
}
