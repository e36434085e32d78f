#pragma once

#include <cstdint>
#include <vector>

#include "virga/channel/channel.h"
#include "virga/collective/group.h"

namespace virga {

// Collectives over opaque bytes. Every member of the group calls the same one with the same round, phase and root. All
// throw what the channel throws; kDeadlineExceeded names the positions that are missing. Each takes two phases at most.
// What is put stays in the channel until its round is retired.

/// The bytes of all members, by position, at `root`; nothing elsewhere. size - 1 transfers.
[[nodiscard]] std::vector<SharedBytes> gather(Channel& channel, const Group& group, std::uint64_t round, Phase phase,
                                              std::uint32_t root, ByteView bytes, const Wait& wait);

/// The bytes of `root`, at every member. One message, which size - 1 members get.
[[nodiscard]] SharedBytes broadcast(Channel& channel, const Group& group, std::uint64_t round, Phase phase,
                                    std::uint32_t root, ByteView bytes, const Wait& wait);

/// Returns once all members have called it. Through member 0: size messages, 2 (size - 1) gets.
void barrier(Channel& channel, const Group& group, std::uint64_t round, Phase phase, const Wait& wait);

}  // namespace virga
