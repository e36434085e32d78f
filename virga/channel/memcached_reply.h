#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "virga/base/bytes.h"

namespace virga {

/// One answer of Memcached to a meta command or a text command (Memcached's doc/protocol.txt): a line, and after a
/// kValue its bytes.
struct MemcachedReply {
  enum class Kind : std::uint8_t {
    kDone,       ///< HD: stored, deleted, there
    kValue,      ///< VA: `value_bytes` follow
    kNotThere,   ///< EN, NF
    kNotStored,  ///< NS: there is one already
    kExists,     ///< EX: somebody else has written
    kNoop,       ///< MN
    kStat,       ///< STAT: `text` is a name, a space, a value
    kKey,        ///< of a metadump: `text` is the whole line
    kBusy,       ///< BUSY: another metadump is under way
    kEnd,        ///< END
    kStored,     ///< STORED
    kError,      ///< ERROR, CLIENT_ERROR, SERVER_ERROR: `text` is the whole line
  };
  Kind kind = Kind::kError;
  std::uint64_t value_bytes = 0;        ///< kValue
  std::optional<std::uint64_t> opaque;  ///< O: what was sent along with the command
  std::optional<std::uint64_t> cas;     ///< c: a number that no other write of this server has
  std::optional<std::uint64_t> size;    ///< s: bytes of the value
  std::optional<std::uint64_t> flags;   ///< f: what a client has stored beside the value
  std::string_view text;                ///< lives as long as the line
};

/// `line` is without its end. Throws Error(kCorrupt).
[[nodiscard]] MemcachedReply parse_memcached_reply(std::string_view line);

/// Cuts a stream of bytes into answers. The bytes of a value go straight to where the caller wants them, also past this
/// class: unfilled() is what a socket may receive into.
class MemcachedReader {
 public:
  enum class Step : std::uint8_t {
    kMore,   ///< all bytes are used up
    kReply,  ///< reply() is there; if it is a kValue, call fill()
    kValue,  ///< what was to be filled is
  };
  /// Longer ones are refused.
  static constexpr std::size_t kMostLineBytes = 4096;

  /// Values that are larger than `max_value_bytes` are refused.
  explicit MemcachedReader(std::uint64_t max_value_bytes) : max_value_bytes_(max_value_bytes) {}
  void set_max_value_bytes(std::uint64_t bytes) noexcept { max_value_bytes_ = bytes; }

  /// Takes from the front of `bytes` what it has use for. Throws Error(kCorrupt) for what is no answer.
  [[nodiscard]] Step feed(ByteView& bytes);
  /// Lives until the next feed().
  [[nodiscard]] const MemcachedReply& reply() const noexcept { return reply_; }

  /// `to` has reply().value_bytes, and lives until they have come.
  void fill(std::span<std::byte> to) noexcept { unfilled_ = to; }
  [[nodiscard]] std::span<std::byte> unfilled() const noexcept { return unfilled_; }
  /// The first `count` bytes of unfilled() have been filled.
  void filled(std::size_t count) noexcept { unfilled_ = unfilled_.subspan(count); }

 private:
  [[nodiscard]] bool collect_line(ByteView& bytes);

  std::uint64_t max_value_bytes_;
  std::string line_;
  bool line_is_read_ = false;
  MemcachedReply reply_;
  std::span<std::byte> unfilled_;
  std::size_t end_bytes_ = 0;  // of the line end after a value that are still to come
};

/// Decodes %XX, as keys are in a metadump; none for what is no such text.
[[nodiscard]] std::optional<std::string> memcached_key_of(std::string_view dumped_line);

}  // namespace virga
