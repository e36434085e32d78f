#include <algorithm>
#include <bit>
#include <cstddef>
#include <limits>
#include <utility>

#include <zstd.h>

#include "virga/base/hash.h"
#include "virga/data/block.h"
#include "virga/data/block_layout.h"

namespace virga {
namespace {

constexpr int kZstdLevel = 3;

std::uint8_t bytes_for(std::uint32_t largest) noexcept { return largest <= 0xFF ? 1 : largest <= 0xFFFF ? 2 : 4; }

/// Is `value` one of 0, 1, ..., 255, bit for bit (so not -0)?
bool is_byte(float value) noexcept {
  const float clamped = value >= 0 && value <= 255 ? value : 0;
  return std::bit_cast<std::uint32_t>(static_cast<float>(static_cast<int>(clamped))) ==
         std::bit_cast<std::uint32_t>(value);
}

std::uint8_t bytes_for(std::span<const float> values) { return std::ranges::all_of(values, is_byte) ? 1 : 4; }

/// Omits what is 1 everywhere.
std::uint8_t bytes_or_none(std::span<const float> values, std::uint8_t otherwise) {
  return std::ranges::all_of(values, [](float value) { return value == 1.0F; }) ? std::uint8_t{0} : otherwise;
}

/// Differences less one: keys[i] = keys[i - 1] + 1 + delta, beginning from -1.
std::vector<std::uint32_t> key_deltas(std::span<const std::uint32_t> keys) {
  std::vector<std::uint32_t> deltas(keys.size());
  std::uint32_t next = 0;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    deltas[i] = keys[i] - next;
    next = keys[i] + 1;
  }
  return deltas;
}

std::vector<std::uint32_t> row_lengths(const RowGroup& group) {
  std::vector<std::uint32_t> lengths(group.rows);
  for (std::size_t row = 0; row < group.rows; ++row) lengths[row] = group.row_begin[row + 1] - group.row_begin[row];
  return lengths;
}

template <typename Small>
void put_as(ByteWriter& out, const auto& values) {
  for (const auto value : values) out.put(static_cast<Small>(value));
}

void put_integers(ByteWriter& out, const auto& values, std::uint32_t bytes_each) {
  if (bytes_each == 1) put_as<std::uint8_t>(out, values);
  if (bytes_each == 2) put_as<std::uint16_t>(out, values);
  if (bytes_each == 4) put_as<std::uint32_t>(out, values);
}

void put_floats(ByteWriter& out, std::span<const float> values, std::uint8_t bytes_each) {
  if (bytes_each == 1) put_as<std::uint8_t>(out, values);
  if (bytes_each == 4) out.put_span(values);
}

void check_shape(const RowGroup& group) {
  check(group.rows > 0 && group.labels.size() == group.rows, "a row group needs rows and a label for each");
  check(group.weights.empty() || group.weights.size() == group.rows, "a row group needs a weight for each row");
  if (group.dense) {
    check(group.matrix.size() == std::size_t{group.rows} * group.columns, "a dense group's matrix has the wrong size");
    return;
  }
  check(group.row_begin.size() == std::size_t{group.rows} + 1, "a row group needs a beginning for each row");
  check((group.wide() ? group.indices32.size() : group.indices16.size()) == group.nonzeros(), "indices are missing");
  check(group.values.empty() || group.values.size() == group.nonzeros(), "a row group needs a value for each entry");
}

GroupHeader describe(const RowGroup& group, const std::vector<std::uint32_t>& deltas,
                     const std::vector<std::uint32_t>& lengths) {
  GroupHeader header{};
  header.magic = kGroupMagic;
  header.version = kGroupVersion;
  header.rows = group.rows;
  header.nonzeros = static_cast<std::uint32_t>(group.nonzeros());
  header.label_bytes = bytes_for(group.labels);
  header.weight_bytes = bytes_or_none(group.weights, 4);
  if (group.dense) {
    header.flags = kDenseFlag;
    header.columns = group.columns;
    header.value_bytes = bytes_for(group.matrix);
  } else {
    header.columns = static_cast<std::uint32_t>(group.keys.size());
    header.key_bytes = deltas.empty() ? std::uint8_t{1} : bytes_for(*std::ranges::max_element(deltas));
    const auto [shortest, longest] = std::ranges::minmax(lengths);
    header.length_bytes = shortest == longest ? std::uint8_t{0} : bytes_for(longest);
    header.value_bytes = bytes_or_none(group.values, bytes_for(group.values));
  }
  return header;
}

Bytes encode_body(const RowGroup& group, const GroupHeader& header, const std::vector<std::uint32_t>& deltas,
                  const std::vector<std::uint32_t>& lengths) {
  Bytes body;
  body.reserve(body_bytes(header));
  ByteWriter out(body);
  if (group.dense) {
    put_floats(out, group.matrix, header.value_bytes);
  } else {
    put_integers(out, deltas, header.key_bytes);
    if (header.length_bytes == 0) out.put(lengths.front());
    put_integers(out, lengths, header.length_bytes);
    if (group.wide()) {
      put_integers(out, group.indices32, index_bytes(header));
    } else {
      put_integers(out, group.indices16, index_bytes(header));
    }
    put_floats(out, group.values, header.value_bytes);
  }
  put_floats(out, group.labels, header.label_bytes);
  put_floats(out, group.weights, header.weight_bytes);
  check(body.size() == body_bytes(header), "a row group's parts do not add up");
  return body;
}

/// `body` packed, or empty if that would not make it smaller, or so small that a reader refuses to expand it.
Bytes pack(ByteView body) {
  Bytes packed(ZSTD_compressBound(body.size()));
  const auto size = ZSTD_compress(packed.data(), packed.size(), body.data(), body.size(), kZstdLevel);
  if (ZSTD_isError(size) != 0) throw Error(ErrorKind::kInternal, "zstd cannot pack a row group");
  if (size >= body.size() || body.size() / size >= kMostExpansion) return {};
  packed.resize(size);
  return packed;
}

}  // namespace

Bytes encode_group(const RowGroup& group, Compression compression) {
  check_shape(group);
  if (group.nonzeros() > std::numeric_limits<std::uint32_t>::max()) {
    throw Error(ErrorKind::kTooLarge, "a row group has more than 2^32 entries", "import with fewer rows in a group");
  }
  const auto deltas = key_deltas(group.keys);
  const auto lengths = group.dense ? std::vector<std::uint32_t>() : row_lengths(group);
  auto header = describe(group, deltas, lengths);
  const auto size = body_bytes(header);
  if (size > std::numeric_limits<std::uint32_t>::max() - sizeof header) {
    throw Error(ErrorKind::kTooLarge, "a row group is larger than 4 GiB", "import with fewer rows in a group");
  }
  auto body = encode_body(group, header, deltas, lengths);
  header.body_bytes = static_cast<std::uint32_t>(size);
  if (compression == Compression::kZstd) {
    if (auto packed = pack(body); !packed.empty()) {
      body = std::move(packed);
      header.flags = static_cast<std::uint8_t>(header.flags | kPackedFlag);
    }
  }
  header.stored_bytes = static_cast<std::uint32_t>(body.size());
  const auto head = std::as_bytes(std::span(&header, 1));
  header.crc32c = crc32c(body, crc32c(head.first(offsetof(GroupHeader, crc32c))));

  Bytes bytes;
  bytes.reserve(sizeof header + body.size());
  bytes.insert(bytes.end(), head.begin(), head.end());
  bytes.insert(bytes.end(), body.begin(), body.end());
  return bytes;
}

}  // namespace virga
