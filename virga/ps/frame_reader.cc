#include "virga/ps/frame_reader.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

namespace virga {
namespace {

/// Of a buffer for heads, from one request to the next.
constexpr std::size_t kKeptBytes = 64 << 10;

}  // namespace

bool FrameReader::collect(ByteView& bytes, std::size_t size) {
  const auto taken = bytes.first(std::min(bytes.size(), size - head_.size()));
  head_.insert(head_.end(), taken.begin(), taken.end());
  bytes = bytes.subspan(taken.size());
  return head_.size() == size;
}

FrameReader::Step FrameReader::feed(ByteView& bytes) {
  if (state_ == State::kFrame) {
    if (!collect(bytes, kPsFrameBytes)) return Step::kMore;
    frame_ = parse_frame(head_);
    if (frame_.head_bytes > max_head_bytes_) {
      throw Error(ErrorKind::kCorrupt, fmt::format("message of a data store: a head of {} bytes", frame_.head_bytes));
    }
    head_.clear();
    state_ = State::kHead;
  }
  if (state_ == State::kHead) {
    if (!collect(bytes, frame_.head_bytes)) return Step::kMore;
    state_ = State::kBody;
    return Step::kHead;
  }
  const auto filled_now = std::min(bytes.size(), unfilled_.size());
  if (filled_now != 0) std::memcpy(unfilled_.data(), bytes.data(), filled_now);
  filled(filled_now);
  bytes = bytes.subspan(filled_now);
  const auto skipped = std::min<std::uint64_t>(bytes.size(), skip_);
  skip_ -= skipped;
  bytes = bytes.subspan(skipped);
  return unfilled_.empty() && skip_ == 0 ? Step::kBody : Step::kMore;
}

void FrameReader::next() noexcept {
  state_ = State::kFrame;
  head_.clear();
  if (head_.capacity() > kKeptBytes) head_ = {};
  unfilled_ = {};
  skip_ = 0;
}

}  // namespace virga
