#include "virga/ps/out_queue.h"

#include <algorithm>
#include <utility>

namespace virga {

void OutQueue::push(Bytes frame, SharedBytes body) {
  segments_.push_back({std::move(frame), std::move(body)});
  bytes_ += segments_.back().size();
}

std::size_t OutQueue::gather(std::span<iovec> vectors) const noexcept {
  std::size_t used = 0;
  std::size_t offset = offset_;
  for (const auto& segment : segments_) {
    for (const ByteView part : {ByteView(segment.frame), segment.body.view()}) {
      const auto skipped = std::min(offset, part.size());
      offset -= skipped;
      if (skipped == part.size()) continue;
      if (used == vectors.size()) return used;
      // The system only reads what is sent, but takes it by a pointer that could write.
      vectors[used++] = {const_cast<std::byte*>(part.data()) + skipped, part.size() - skipped};
    }
  }
  return used;
}

void OutQueue::sent(std::size_t count) noexcept {
  bytes_ -= count;
  count += offset_;
  while (!segments_.empty() && count >= segments_.front().size()) {
    count -= segments_.front().size();
    segments_.pop_front();
  }
  offset_ = count;
}

}  // namespace virga
