#pragma once

#include <cstdint>
#include <string>

#include "virga/base/bytes.h"

namespace virga {

/// Names a message within a job. The order of the members is that of keys: all that a rank put in one group up to some
/// round is a range.
struct MessageKey {
  std::uint32_t view = 0;
  std::uint32_t group = 0;   ///< who talks: all ranks of a view, the replicas of a stage, ... (see Group)
  std::uint32_t source = 0;  ///< position in the group
  std::uint64_t round = 0;
  std::uint16_t phase = 0;        ///< of a round: which of its transfers
  std::uint32_t destination = 0;  ///< position in the group, or kEverybody
  std::uint32_t part = 0;         ///< of several from one to another in a phase; and of one that the channel must cut

  auto operator<=>(const MessageKey&) const = default;  // NOLINT(modernize-use-nullptr): it knows no <=>
};

/// A message that any number of members get.
constexpr std::uint32_t kEverybody = 0xffffffff;

/// Bytes of an encoded key.
constexpr std::size_t kMessageKeyBytes = 30;

/// The members in their order, little-endian (docs/formats/message.md).
void encode_key(const MessageKey& key, ByteWriter& out);
[[nodiscard]] MessageKey decode_key(ByteReader& in);

/// "view 1, group 0, round 17, phase 2, from 3 to 5, part 0"
[[nodiscard]] std::string to_string(const MessageKey& key);

}  // namespace virga
