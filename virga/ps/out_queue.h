#pragma once

#include <cstdint>
#include <deque>
#include <span>

#include <sys/uio.h>

#include "virga/base/shared_bytes.h"

namespace virga {

/// What is still to be sent to a client: frames, each with a body that is shared with the store.
class OutQueue {
 public:
  void push(Bytes frame, SharedBytes body = {});

  [[nodiscard]] bool empty() const noexcept { return segments_.empty(); }
  /// Bytes that are still to be sent.
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

  /// Describes what comes first, as far as `vectors` reach; returns how many of them are used.
  [[nodiscard]] std::size_t gather(std::span<iovec> vectors) const noexcept;
  /// The first `count` bytes are sent.
  void sent(std::size_t count) noexcept;

 private:
  struct Segment {
    Bytes frame;
    SharedBytes body;
    [[nodiscard]] std::size_t size() const noexcept { return frame.size() + body.size(); }
  };

  std::deque<Segment> segments_;
  std::size_t offset_ = 0;  // in the first segment
  std::uint64_t bytes_ = 0;
};

}  // namespace virga
