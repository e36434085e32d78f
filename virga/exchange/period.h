#pragma once

#include <cstdint>

#include "virga/control/control.h"

namespace virga {

/// After which rounds ranks that work by themselves synchronise: at the end of each epoch, and, unless it is 0, after
/// every `rounds` of it.
struct Period {
  std::uint64_t rounds = 0;
  std::uint64_t rounds_per_epoch = 1;

  [[nodiscard]] bool ends_after(Round round) const noexcept {
    const auto done = round % rounds_per_epoch + 1;
    return done == rounds_per_epoch || (rounds > 0 && done % rounds == 0);
  }
  bool operator==(const Period&) const = default;
};

}  // namespace virga
