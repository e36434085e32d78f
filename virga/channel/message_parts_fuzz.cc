// Parts of messages as they may come from a store: refused, or of the size that they announce.
#include <cstddef>
#include <cstdint>
#include <span>

#include "virga/base/error.h"
#include "virga/channel/message_parts.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using virga::MessageParts;
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const auto parts = virga::decode_header(bytes, std::uint64_t{1} << 40);
    virga::check(parts.count() >= 1 && parts.count() <= MessageParts::kMostParts, "parts can be counted");
    const auto last = parts.count() - 1;
    virga::check(parts.offset_of(last) + parts.body_bytes_of(last) == parts.message_bytes, "parts cover the message");
    virga::check(body_of_part(parts, last, bytes).size() == parts.body_bytes_of(last), "the last part fits");
  } catch (const virga::Error& error) {
    virga::check(error.kind() == virga::ErrorKind::kCorrupt, "damage is named so");
  }
  return 0;
}
