#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "virga/base/error.h"
#include "virga/function/http_reply.h"

namespace virga {
namespace {

struct Read {
  HttpReply reply;
  std::size_t taken = 0;
  bool operator==(const Read&) const = default;
};

/// Nothing if it is refused.
std::optional<Read> read(std::string_view bytes, std::size_t piece, std::size_t most_kept) {
  HttpReplyReader reader(most_kept);
  std::size_t taken = 0;
  try {
    while (taken < bytes.size() && !reader.is_complete()) {
      const auto count = reader.take(bytes.substr(taken, piece));
      check(count > 0, "a reply that is not complete takes bytes");
      taken += count;
    }
    if (!reader.is_complete()) reader.end();
  } catch (const Error& error) {
    check(error.kind() == ErrorKind::kBadData, "the kind that is promised");
    return std::nullopt;
  }
  const auto& reply = reader.reply();
  check(reader.is_complete() && reply.status >= 200 && reply.status <= 999, "a reply has a status");
  check(reply.body.size() == std::min<std::uint64_t>(reply.body_bytes, most_kept), "no more is kept than is wanted");
  check(reply.body_bytes <= taken, "a body comes from the connection");
  return Read{reply, taken};
}

}  // namespace
}  // namespace virga

/// A reply is the same whatever the pieces in which it comes.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace virga;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto whole = read(bytes, std::max<std::size_t>(size, 1), 64);
  check(read(bytes, 1, 64) == whole && read(bytes, 37, 64) == whole, "the pieces make a difference");
  check(read(bytes, 37, 0).has_value() == whole.has_value(), "what is kept makes a difference");
  return 0;
}
