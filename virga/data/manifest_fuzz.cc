#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include <nlohmann/json.hpp>

#include "virga/base/hash.h"
#include "virga/data/manifest.h"

namespace virga {
namespace {

void parse(std::string_view text, ByteView arrays) {
  try {
    const auto manifest = parse_manifest(text, arrays);
    check(parse_manifest(manifest_text(manifest), encoding_arrays(manifest.encoding)) == manifest,
          "a manifest changed on its way");
  } catch (const Error&) {
  }
}

/// With the checksums made right, so that what lies behind them is reached.
void parse_mended(std::string_view text, ByteView arrays) {
  auto document = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) return;
  Bytes mended(arrays.begin(), arrays.end());
  if (mended.size() >= 16) {
    const auto crc = crc32c(arrays.subspan(16), crc32c(arrays.first(12)));
    std::memcpy(mended.data() + 12, &crc, sizeof crc);
  }
  document["arrays"] = {{"bytes", mended.size()}, {"crc32c", crc32c(mended)}};
  document.erase("checksum");
  document["checksum"] = crc32c(as_bytes(document.dump()));
  parse(document.dump(), mended);
}

}  // namespace
}  // namespace virga

/// Input: manifest.json, a zero byte, encoding.bin.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto all = virga::as_text(std::as_bytes(std::span(data, size)));
  const auto zero = all.find('\0');
  const auto text = all.substr(0, zero);
  const auto arrays = zero == std::string_view::npos ? std::string_view() : all.substr(zero + 1);
  virga::parse(text, virga::as_bytes(arrays));
  virga::parse_mended(text, virga::as_bytes(arrays));
  return 0;
}
