#pragma once

#include <cstdint>

namespace virga {

/// The first bytes of an encoded row group (docs/formats/block.md). The sizes of the elements of each part say how it
/// is stored; 0 stands for a part that is left out.
struct GroupHeader {
  std::uint32_t magic;
  std::uint16_t version;
  std::uint8_t flags;
  std::uint8_t key_bytes;  ///< 1, 2, 4: differences between keys; 0: dense
  std::uint32_t rows;
  std::uint32_t columns;       ///< size of the dictionary; dense: of a row
  std::uint32_t nonzeros;      ///< dense: rows x columns
  std::uint8_t length_bytes;   ///< 1, 2, 4: lengths of rows; 0: one length for all, as a u32; dense: 0
  std::uint8_t value_bytes;    ///< 0: all are 1 (not dense); 1: integers 0 ... 255; 4: f32
  std::uint8_t label_bytes;    ///< 1 or 4, as values
  std::uint8_t weight_bytes;   ///< 0: all are 1; 4: f32
  std::uint32_t body_bytes;    ///< unpacked
  std::uint32_t stored_bytes;  ///< as stored
  std::uint32_t crc32c;        ///< of the header up to here and the stored body
};
static_assert(sizeof(GroupHeader) == 36);

constexpr std::uint32_t kGroupMagic = 0x50524756;  // "VGRP"
constexpr std::uint16_t kGroupVersion = 1;
constexpr std::uint8_t kDenseFlag = 1;
constexpr std::uint8_t kPackedFlag = 2;
/// A packed body is at most this many times larger than what is stored, so that few bytes cannot ask for much memory.
constexpr std::uint64_t kMostExpansion = 256;

/// Bytes of a local index, by the size of the dictionary.
[[nodiscard]] constexpr std::uint32_t index_bytes(const GroupHeader& header) noexcept {
  if ((header.flags & kDenseFlag) != 0) return 0;
  return header.columns <= 256 ? 1 : header.columns <= 65536 ? 2 : 4;
}

/// Bytes of the body that such a header describes: the sum of its parts, below 2^36.
[[nodiscard]] constexpr std::uint64_t body_bytes(const GroupHeader& header) noexcept {
  const bool one_length = (header.flags & kDenseFlag) == 0 && header.length_bytes == 0;
  return std::uint64_t{header.key_bytes} * header.columns + std::uint64_t{header.length_bytes} * header.rows +
         (one_length ? 4 : 0) + std::uint64_t{index_bytes(header)} * header.nonzeros +
         std::uint64_t{header.value_bytes} * header.nonzeros + std::uint64_t{header.label_bytes} * header.rows +
         std::uint64_t{header.weight_bytes} * header.rows;
}

}  // namespace virga
