#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "virga/base/error.h"
#include "virga/channel/resp.h"

namespace virga {
namespace {

constexpr std::size_t kMostBytes = 1 << 16;

/// How many items and bytes a value has, as whoever reads it would look at them.
std::size_t weigh_value(const RespValue& value) {
  std::size_t sum = value.text.size() + value.bytes.size();
  for (const auto byte : value.bytes.view()) sum += static_cast<std::size_t>(byte);
  for (const auto& item : value.items) sum += weigh_value(item);
  return sum + 1;
}

/// What a server that sends `bytes` in pieces says, in all; straight into place where the reader asks for it.
std::size_t read_resp(ByteView bytes, std::size_t piece) {
  RespReader reader(kMostBytes);
  std::array<std::byte, 8> place{};
  std::size_t sum = 0;
  try {
    while (!bytes.empty()) {
      const auto direct = reader.unfilled();
      const auto straight = std::min({direct.size(), bytes.size(), piece});
      std::copy_n(bytes.begin(), straight, direct.begin());
      reader.filled(straight);
      bytes = bytes.subspan(straight);
      auto some = bytes.first(std::min(piece, bytes.size()));
      bytes = bytes.subspan(some.size());
      while (!some.empty()) {
        if (sum % 2 == 1) reader.direct(place);
        if (reader.feed(some)) sum += weigh_value(reader.take());
      }
    }
  } catch (const Error& error) {
    check(error.kind() == ErrorKind::kCorrupt, "what a server says can only be corrupt");
  }
  return sum;
}

}  // namespace
}  // namespace virga

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  virga::read_resp(bytes, 1 << 20);
  virga::read_resp(bytes, 1);
  virga::read_resp(bytes, 5);
  return 0;
}
