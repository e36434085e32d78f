#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "virga/base/shared_bytes.h"

namespace virga {

/// Memory for messages that arrive. That of the largest is kept for the next ones when the last owner lets go: malloc
/// would give it back to the system, which clears each page anew for each message. Any thread may let go.
class DirectMemory {
 public:
  /// Bytes that are to be filled before anybody else sees them: `to` is where they are.
  [[nodiscard]] SharedBytes take(std::size_t size, std::span<std::byte>& to);

 private:
  struct Buffer {
    std::unique_ptr<std::byte[]> bytes;
    std::size_t size = 0;
  };
  struct Kept {
    std::mutex mutex;  // guards buffers
    std::vector<Buffer> buffers;
  };
  const std::shared_ptr<Kept> kept_ = std::make_shared<Kept>();
};

}  // namespace virga
