#include <algorithm>
#include <cstdint>
#include <span>

#include "virga/base/error.h"
#include "virga/base/hash.h"
#include "virga/exchange/global_model.h"

namespace {

using namespace virga;

const Layout kLayout = {{.name = "weights", .rows = 3, .width = 2, .regularised = true, .sparse = true},
                        {.name = "bias", .rows = 1, .width = 1, .regularised = false, .sparse = false}};

/// What is read is written again to the same bytes; all else is an Error.
void try_to_read(ByteView bytes) {
  Tables parameters(kLayout);
  try {
    const auto updates = decode_global_model(bytes, "a model", parameters);
    check(std::ranges::equal(encode_global_model(parameters, updates), bytes), "nothing is lost");
  } catch (const Error& error) {
    check(error.kind() == ErrorKind::kCorrupt, "the kind that is promised");
  }
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
