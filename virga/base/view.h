#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

namespace virga {

/// A lasting identity: a worker's invocations follow each other as generations.
using WorkerId = std::uint32_t;
using Generation = std::uint32_t;
/// Position in a view.
using Rank = std::uint32_t;

struct Member {
  WorkerId worker = 0;
  Generation generation = 0;
  bool operator==(const Member&) const = default;
};

/// Who takes part from some round on; only the supervisor makes one. What is exchanged in one view is never seen in
/// another.
struct View {
  std::uint32_t number = 0;  ///< from 1, growing
  std::vector<Member> members;

  [[nodiscard]] Rank size() const noexcept { return static_cast<Rank>(members.size()); }
  /// None if this invocation is no member, or no longer.
  [[nodiscard]] std::optional<Rank> rank_of(const Member& member) const noexcept {
    const auto at = std::ranges::find(members, member);
    if (at == members.end()) return std::nullopt;
    return static_cast<Rank>(at - members.begin());
  }
  bool operator==(const View&) const = default;
};

}  // namespace virga
