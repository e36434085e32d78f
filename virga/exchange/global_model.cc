#include "virga/exchange/global_model.h"

#include <string>

#include "virga/base/error.h"
#include "virga/base/hash.h"

namespace virga {
namespace {

constexpr std::uint32_t kMagic = 0x424c4756;  // "VGLB"
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kHeadBytes = 2 * sizeof(std::uint32_t) + 2 * sizeof(std::uint64_t);

std::uint64_t values_of(const Layout& layout) noexcept {
  std::uint64_t values = 0;
  for (const auto& table : layout) values += table.size();
  return values;
}

}  // namespace

std::size_t global_model_bytes(const Layout& layout) noexcept {
  return kHeadBytes + values_of(layout) * sizeof(float) + sizeof(std::uint32_t);
}

Bytes encode_global_model(const Tables& parameters, std::uint64_t updates) {
  Bytes bytes;
  bytes.reserve(global_model_bytes(parameters.layout));
  ByteWriter out(bytes);
  out.put(kMagic);
  out.put(kVersion);
  out.put(updates);
  out.put(values_of(parameters.layout));
  for (const auto& values : parameters.values) out.put_span(std::span<const float>(values));
  out.put(crc32c(bytes));
  return bytes;
}

std::uint64_t decode_global_model(ByteView bytes, std::string_view what, Tables& parameters) {
  ByteReader in(bytes, what);
  const auto refuse = [&](const char* why) { throw Error(ErrorKind::kCorrupt, std::string(what) + ": " + why); };
  if (bytes.size() < kHeadBytes || in.get<std::uint32_t>() != kMagic || in.get<std::uint32_t>() != kVersion) {
    refuse("not a global model, or one of another version");
  }
  const auto updates = in.get<std::uint64_t>();
  if (in.get<std::uint64_t>() != values_of(parameters.layout) ||
      bytes.size() != global_model_bytes(parameters.layout)) {
    refuse("the global model is that of another job");
  }
  ByteReader tail(bytes.last(sizeof(std::uint32_t)), what);
  if (crc32c(bytes.first(bytes.size() - sizeof(std::uint32_t))) != tail.get<std::uint32_t>()) {
    refuse("the checksum of the global model is wrong");
  }
  for (auto& values : parameters.values) in.get_span(std::span<float>(values));
  return updates;
}

}  // namespace virga
