#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "virga/base/error.h"
#include "virga/base/hash.h"
#include "virga/channel/message.h"

namespace virga {
namespace {

constexpr MessageKey kKey{.view = 2, .source = 3, .round = 7, .destination = 1};
constexpr std::size_t kReserved = 40;  // four bytes that are written as zeros and not looked at
constexpr std::size_t kChecksum = 44;

/// What opens must have been encoded, byte by byte.
void open(const SharedBytes& message) {
  try {
    const auto opened = open_message(message, kKey, MessageKind::kContribution);
    check(opened.header.kind == MessageKind::kContribution && opened.header.view == kKey.view &&
              opened.header.round == kKey.round,
          "a message of another key was opened");
    check(opened.body.data() == message.view().data() + kMessageHeaderBytes &&
              opened.body.size() == message.size() - kMessageHeaderBytes,
          "the body is not all that stands behind the header");
    const auto encoded = encode_header(opened.header, {&opened.body, 1});
    const auto given = message.view().first(kMessageHeaderBytes);
    check(std::ranges::equal(ByteView(encoded).first(kReserved), given.first(kReserved)),
          "a header changed on its way");
    const bool as_written = std::ranges::all_of(given.subspan(kReserved, kChecksum - kReserved),
                                                [](std::byte byte) { return byte == std::byte{0}; });
    check(!as_written || std::ranges::equal(encoded, given), "a checksum changed on its way");
  } catch (const Error& error) {
    check(error.kind() == ErrorKind::kCorrupt, "a message is refused as corrupt");
  }
}

/// With the magic number, the version, the size and the checksum made right, so that what lies behind them is reached.
void open_mended(ByteView bytes) {
  if (bytes.size() < kMessageHeaderBytes) return;
  const auto right = encode_header({}, {});
  Bytes mended(bytes.begin(), bytes.end());
  std::copy_n(right.begin(), sizeof(std::uint32_t) + sizeof(std::uint16_t), mended.begin());
  const std::uint64_t size = mended.size() - kMessageHeaderBytes;
  std::memcpy(mended.data() + 32, &size, sizeof size);
  const auto head = crc32c(ByteView(mended).first(kChecksum));
  const auto crc = crc32c(ByteView(mended).subspan(kMessageHeaderBytes), head);
  std::memcpy(mended.data() + kChecksum, &crc, sizeof crc);
  open(SharedBytes::copy_of(mended));
}

}  // namespace
}  // namespace virga

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  virga::open(virga::SharedBytes::copy_of(bytes));
  virga::open_mended(bytes);
  return 0;
}
