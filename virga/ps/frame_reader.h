#pragma once

#include <cstdint>
#include <span>

#include "virga/base/bytes.h"
#include "virga/ps/protocol.h"

namespace virga {

/// Cuts a stream of bytes into frames. Heads are collected; the body goes straight to where the caller wants it, also
/// past this class: unfilled() is what a socket may receive into.
class FrameReader {
 public:
  enum class Step : std::uint8_t {
    kMore,  ///< all bytes are used up
    kHead,  ///< frame() and head() are whole: call fill(), skip() or next()
    kBody,  ///< what fill() or skip() asked for is there: call fill(), skip() or next()
  };

  /// Heads that are longer are refused.
  explicit FrameReader(std::uint32_t max_head_bytes) : max_head_bytes_(max_head_bytes) {}
  void set_max_head_bytes(std::uint32_t bytes) noexcept { max_head_bytes_ = bytes; }

  /// Takes from the front of `bytes` what it has use for. Throws Error(kCorrupt) for what is no frame.
  [[nodiscard]] Step feed(ByteView& bytes);

  [[nodiscard]] const PsFrame& frame() const noexcept { return frame_; }
  [[nodiscard]] ByteView head() const noexcept { return head_; }

  /// The next bytes of the body go to `to`, which must live until they have come.
  void fill(std::span<std::byte> to) noexcept { unfilled_ = to; }
  /// The next bytes of the body go nowhere.
  void skip(std::uint64_t count) noexcept { skip_ = count; }
  /// The frame is over.
  void next() noexcept;

  /// What is still to be filled.
  [[nodiscard]] std::span<std::byte> unfilled() const noexcept { return unfilled_; }
  /// The first `count` bytes of unfilled() have been filled.
  void filled(std::size_t count) noexcept { unfilled_ = unfilled_.subspan(count); }

  [[nodiscard]] bool is_between_frames() const noexcept { return state_ == State::kFrame && head_.empty(); }

 private:
  enum class State : std::uint8_t { kFrame, kHead, kBody };
  /// Collects in head_ until it has `size` bytes.
  [[nodiscard]] bool collect(ByteView& bytes, std::size_t size);

  std::uint32_t max_head_bytes_;
  State state_ = State::kFrame;
  PsFrame frame_;
  Bytes head_;
  std::span<std::byte> unfilled_;
  std::uint64_t skip_ = 0;
};

}  // namespace virga
