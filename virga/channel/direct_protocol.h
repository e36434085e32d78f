#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "virga/base/bytes.h"
#include "virga/base/view.h"
#include "virga/channel/message_key.h"

/// The bytes between two workers that talk straight to each other (docs/formats/channel-direct.md): pure functions, no
/// I/O. Whatever parses throws Error(kCorrupt) for what the format does not allow, before it allocates what a length
/// asks for.
namespace virga {

constexpr std::uint16_t kDirectVersion = 1;
constexpr std::uint32_t kDirectMaxMessageBytes = std::uint32_t{1} << 30;
constexpr std::uint32_t kDirectMaxTokenBytes = 1024;
constexpr std::uint32_t kDirectMaxJobBytes = 256;

enum class DirectKind : std::uint8_t {
  kHello = 1,    ///< first of who connects; the body says who he is
  kWelcome = 2,  ///< the answer to it
  kRefused = 3,  ///< the last of a connection; the body says why
  kMessage = 4,  ///< the body is the message under the key
  kTaken = 5,    ///< nothing but `taken`
  kWant = 6,     ///< send the message under the key, once it is there
  kAsk = 7,      ///< send it if it is there
  kRetire = 8,   ///< forget what the key's source put in its group and view, in its round and before
  kSweep = 9,    ///< forget the views before the key's
  kPing = 10,
  kPong = 11,  ///< all that came before the ping has been dealt with, and what it brought forth was sent before
};

/// What every frame begins with; `body_bytes` follow.
struct DirectHead {
  DirectKind kind{};
  std::uint32_t body_bytes = 0;
  std::uint64_t taken = 0;  ///< kMessage frames that have been received whole over this connection
  MessageKey key = {};
  bool operator==(const DirectHead&) const = default;
};
constexpr std::size_t kDirectHeadBytes = 48;
using EncodedDirectHead = std::array<std::byte, kDirectHeadBytes>;

[[nodiscard]] EncodedDirectHead encode_direct_head(const DirectHead& head) noexcept;
/// `bytes`: kDirectHeadBytes of them.
[[nodiscard]] DirectHead parse_direct_head(ByteView bytes);

struct DirectHello {
  Member from;
  Member to;
  std::string token;
  std::string job;
  bool operator==(const DirectHello&) const = default;
};
/// The body of a hello. Throws Error(kUnsupported) for another version.
[[nodiscard]] Bytes encode_direct_hello(const DirectHello& hello);
[[nodiscard]] DirectHello parse_direct_hello(ByteView body);

/// Why a connection is over.
struct DirectRefusal {
  ErrorKind kind = ErrorKind::kInternal;
  std::string what;
  std::string remedy;
  bool operator==(const DirectRefusal&) const = default;
};
/// The body of a refusal. Texts are cut to 1,024 bytes; a kind that has no number becomes kInternal.
[[nodiscard]] Bytes encode_direct_refusal(const DirectRefusal& refusal);
[[nodiscard]] DirectRefusal parse_direct_refusal(ByteView body);

}  // namespace virga
