#pragma once

#include <cstddef>
#include <string_view>

namespace virga {

/// Compares tokens in a time that does not depend on where they differ.
[[nodiscard]] inline bool same_secret(std::string_view ours, std::string_view theirs) noexcept {
  if (ours.empty()) return theirs.empty();
  unsigned different = ours.size() == theirs.size() ? 0 : 1;
  for (std::size_t i = 0; i < theirs.size(); ++i) {
    different |= static_cast<unsigned>(ours[i % ours.size()]) ^ static_cast<unsigned>(theirs[i]);
  }
  return different == 0;
}

}  // namespace virga
