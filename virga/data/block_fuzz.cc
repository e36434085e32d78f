#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "virga/base/hash.h"
#include "virga/data/block.h"
#include "virga/data/block_layout.h"

namespace virga {
namespace {

/// What decodes must be what its encoding decodes to.
void decode(ByteView bytes) {
  try {
    const auto group = decode_group(bytes, "fuzz");
    const auto again = decode_group(encode_group(group, Compression::kZstd), "fuzz");
    check(again.rows == group.rows && again.keys == group.keys && again.indices16 == group.indices16 &&
              again.indices32 == group.indices32 && again.labels == group.labels,
          "a row group changed on its way");
  } catch (const Error&) {
  }
}

/// With the checksum and the sizes made right, so that what lies behind them is reached.
void decode_mended(ByteView bytes) {
  if (bytes.size() < sizeof(GroupHeader)) return;
  Bytes mended(bytes.begin(), bytes.end());
  GroupHeader header;
  std::memcpy(&header, mended.data(), sizeof header);
  header.magic = kGroupMagic;
  header.version = kGroupVersion;
  header.stored_bytes = static_cast<std::uint32_t>(mended.size() - sizeof header);
  if ((header.flags & kPackedFlag) == 0) header.body_bytes = header.stored_bytes;
  const auto head = std::as_bytes(std::span(&header, 1)).first(offsetof(GroupHeader, crc32c));
  header.crc32c = crc32c(ByteView(mended).subspan(sizeof header), crc32c(head));
  std::memcpy(mended.data(), &header, sizeof header);
  decode(mended);
}

}  // namespace
}  // namespace virga

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  virga::decode(bytes);
  virga::decode_mended(bytes);
  try {
    static_cast<void>(virga::split_block(bytes, "fuzz"));
  } catch (const virga::Error&) {
  }
  return 0;
}
