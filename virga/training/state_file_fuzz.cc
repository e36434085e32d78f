#include <algorithm>
#include <cstdlib>
#include <span>

#include "virga/base/hash.h"
#include "virga/training/state_file.h"

namespace {

using namespace virga;

/// What is read is written, and read and written again to the same bytes; all else is an Error.
template <typename Decode, typename Encode>
void try_to_read(ByteView bytes, const Decode& decode, const Encode& encode) {
  try {
    const auto written = encode(decode(bytes));
    check(std::ranges::equal(encode(decode(written)), written), "nothing is lost");
  } catch (const Error& error) {
    check(error.kind() == ErrorKind::kCorrupt, "the kind that is promised");
  }
}

void try_to_read(ByteView bytes) {
  try_to_read(bytes, decode_checkpoint, encode_checkpoint);
  try_to_read(bytes, decode_snapshot, encode_snapshot);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try_to_read(bytes);
  if (size < sizeof(std::uint32_t)) return 0;
  // Again with the right checksum, so that damage gets past it.
  Bytes sealed(bytes.begin(), bytes.end() - sizeof(std::uint32_t));
  ByteWriter(sealed).put(crc32c(sealed));
  try_to_read(sealed);
  return 0;
}
