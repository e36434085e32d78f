#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "virga/base/error.h"
#include "virga/channel/memcached_reply.h"

namespace virga {
namespace {

constexpr std::uint64_t kMostValueBytes = 1000;

/// What came of a stream: its answers and values, cut in pieces of `piece` bytes, up to where it is refused.
std::vector<std::string> read_stream(ByteView bytes, std::size_t piece) {
  std::vector<std::string> read;
  MemcachedReader reader(kMostValueBytes);
  std::vector<std::byte> value;
  try {
    while (!bytes.empty()) {
      auto some = bytes.first(std::min(piece, bytes.size()));
      bytes = bytes.subspan(some.size());
      for (auto step = reader.feed(some); step != MemcachedReader::Step::kMore; step = reader.feed(some)) {
        if (step == MemcachedReader::Step::kValue) {
          read.emplace_back(as_text(value));
          continue;
        }
        const auto& reply = reader.reply();
        read.push_back(std::to_string(static_cast<int>(reply.kind)) + std::string(reply.text));
        if (reply.kind == MemcachedReply::Kind::kKey) (void)memcached_key_of(reply.text);
        if (reply.kind != MemcachedReply::Kind::kValue) continue;
        check(reply.value_bytes <= kMostValueBytes, "a value is too large");
        value.assign(reply.value_bytes, std::byte{});
        reader.fill(value);
      }
      check(some.empty(), "bytes are left, though more are wanted");
    }
  } catch (const Error& error) {
    check(error.kind() == ErrorKind::kCorrupt, "an answer is refused as corrupt");
    read.emplace_back("refused");
  }
  return read;
}

}  // namespace
}  // namespace virga

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto whole = virga::read_stream(bytes, size + 1);
  virga::check(virga::read_stream(bytes, 1) == whole, "an answer depends on how it was cut");
  return 0;
}
