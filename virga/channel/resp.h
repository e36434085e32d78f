#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "virga/base/shared_bytes.h"

namespace virga {

/// What a Redis server answers, in its protocol's version 2 (RESP2).
struct RespValue {
  enum class Kind : std::uint8_t { kNothing, kStatus, kError, kInteger, kBytes, kArray };
  Kind kind = Kind::kNothing;
  std::string text;              ///< status, error
  std::int64_t integer = 0;      ///< integer; of bytes: how many
  SharedBytes bytes;             ///< unless they went where RespReader::direct() said
  std::vector<RespValue> items;  ///< array

  [[nodiscard]] bool is(Kind wanted) const noexcept { return kind == wanted; }
  [[nodiscard]] std::string_view bytes_text() const noexcept { return as_text(bytes.view()); }
};

/// Cuts a stream of bytes into values. Long strings go straight to where they stay, also past this class: unfilled() is
/// what a socket may receive into. Throws Error(kCorrupt) for what is not RESP2, and for values that are beyond bounds:
/// strings of more than `max_bytes`, lines of 64 KiB, 2^20 items, arrays 8 deep.
class RespReader {
 public:
  explicit RespReader(std::size_t max_bytes) : max_bytes_(max_bytes) {}

  /// If the next value is a string of as many bytes as `to`, they go there, which must live until they have come.
  void direct(std::span<std::byte> to) noexcept { direct_ = to; }

  /// Takes from the front of `bytes` what belongs to one value. True: it is whole; take() it before the next.
  [[nodiscard]] bool feed(ByteView& bytes);
  [[nodiscard]] RespValue take();

  /// What is still to be filled of a string.
  [[nodiscard]] std::span<std::byte> unfilled() const noexcept { return unfilled_; }
  /// The first `count` bytes of unfilled() have been filled.
  void filled(std::size_t count) noexcept { unfilled_ = unfilled_.subspan(count); }

 private:
  enum class State : std::uint8_t { kLine, kBytes, kEndOfBytes, kWhole };
  struct Level {
    RespValue array;
    std::size_t left = 0;
  };

  [[nodiscard]] bool collect_line(ByteView& bytes);
  void begin_value();
  void begin_bytes(std::int64_t size);
  void begin_array(std::int64_t size);
  void end_value(RespValue value);

  const std::size_t max_bytes_;
  State state_ = State::kLine;
  std::string line_;  // without its end
  std::vector<Level> levels_;
  std::size_t items_ = 0;  // of all arrays of this value
  RespValue value_;
  std::span<std::byte> unfilled_;
  std::span<std::byte> direct_;
};

/// Commands for a Redis server, sent one after the other without waiting for the answers between them.
class RespRequest {
 public:
  /// The next command, which has so many arguments, its name among them.
  RespRequest& command(std::size_t arguments);
  RespRequest& add(std::string_view argument);
  RespRequest& add(std::int64_t argument);
  /// One argument: the concatenation of `parts`, which are borrowed until the request is sent.
  RespRequest& add(std::span<const ByteView> parts);
  /// A command of short arguments.
  RespRequest& command(std::initializer_list<std::string_view> arguments);

  [[nodiscard]] std::size_t commands() const noexcept { return commands_; }
  /// Refers to this object.
  [[nodiscard]] std::vector<ByteView> parts() const;

 private:
  struct Piece {
    std::size_t end = 0;  // in text_; it begins where the one before ends
    ByteView borrowed;    // that comes after it
  };
  void add_size(char kind, std::size_t size);

  std::string text_;
  std::vector<Piece> pieces_;
  std::size_t commands_ = 0;
};

}  // namespace virga
