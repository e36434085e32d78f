#include <algorithm>
#include <bit>
#include <cstddef>
#include <limits>

#include <fmt/format.h>
#include <zstd.h>

#include "virga/base/finite.h"
#include "virga/base/hash.h"
#include "virga/data/block.h"
#include "virga/data/block_layout.h"

namespace virga {
namespace {

[[noreturn]] void fail(std::string_view what, std::string_view reason) {
  throw Error(ErrorKind::kCorrupt, fmt::format("{}: {}", what, reason), "the data set is damaged; import it again");
}

void require(bool condition, std::string_view what, std::string_view reason) {
  if (!condition) [[unlikely]]
    fail(what, reason);
}

bool is_one_of(std::uint8_t value, std::initializer_list<std::uint8_t> allowed) {
  return std::ranges::find(allowed, value) != allowed.end();
}

/// The header at the beginning of `bytes`, as far as it can be checked without the body.
GroupHeader read_header(ByteView bytes, std::string_view what) {
  require(bytes.size() >= sizeof(GroupHeader), what, "ends too early");
  GroupHeader header;
  std::memcpy(&header, bytes.data(), sizeof header);
  require(header.magic == kGroupMagic, what, "this is not a row group of Virga");
  if (header.version != kGroupVersion) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("{}: version {} of the block format is not known", what, header.version),
                "use a newer virga, or import the data again");
  }
  require(header.stored_bytes <= bytes.size() - sizeof header, what, "ends too early");
  return header;
}

void check_header(const GroupHeader& header, std::string_view what) {
  const bool dense = (header.flags & kDenseFlag) != 0;
  const bool packed = (header.flags & kPackedFlag) != 0;
  const bool known = header.flags <= (kDenseFlag | kPackedFlag) && is_one_of(header.label_bytes, {1, 4}) &&
                     is_one_of(header.weight_bytes, {0, 4}) &&
                     (dense ? header.key_bytes == 0 && header.length_bytes == 0 && is_one_of(header.value_bytes, {1, 4})
                            : is_one_of(header.key_bytes, {1, 2, 4}) && is_one_of(header.length_bytes, {0, 1, 2, 4}) &&
                                  is_one_of(header.value_bytes, {0, 1, 4}));
  require(known, what, "the header says what this version does not write");
  require(header.rows > 0, what, "it has no rows");
  require(!dense || std::uint64_t{header.rows} * header.columns == header.nonzeros, what, "the sizes do not add up");
  require(body_bytes(header) == header.body_bytes, what, "the sizes do not add up");
  require(packed ? header.body_bytes / kMostExpansion <= header.stored_bytes : header.body_bytes == header.stored_bytes,
          what, "the sizes do not add up");
}

Bytes unpack(ByteView stored, std::size_t body_bytes, std::string_view what) {
  Bytes body(body_bytes);
  const auto size = ZSTD_decompress(body.data(), body.size(), stored.data(), stored.size());
  require(ZSTD_isError(size) == 0 && size == body_bytes, what, "the packed body is damaged");
  return body;
}

/// Little-endian elements of type Stored, widened to T.
template <typename Stored, typename Values>
void read_as(ByteReader& in, Values& out, std::size_t count) {
  using T = typename Values::value_type;
  const auto bytes = in.take(count * sizeof(Stored));
  out.resize(count);
  if constexpr (std::is_same_v<Stored, T>) {
    if (count > 0) std::memcpy(out.data(), bytes.data(), bytes.size());
  } else {
    const auto* stored = bytes.data();
    for (std::size_t i = 0; i < count; ++i) {
      Stored value;
      std::memcpy(&value, stored + i * sizeof(Stored), sizeof(Stored));
      out[i] = static_cast<T>(value);
    }
  }
}

template <typename Values>
void read_floats(ByteReader& in, Values& out, std::size_t count, std::uint8_t bytes_each) {
  if (bytes_each == 1) read_as<std::uint8_t>(in, out, count);
  if (bytes_each == 4) {
    read_as<float>(in, out, count);
    require(all_finite(out), in.what(), "a value is not finite");
  }
}

template <typename Stored>
void read_keys(ByteReader& in, Array<std::uint32_t>& keys, std::size_t count) {
  const auto* deltas = in.take(count * sizeof(Stored)).data();
  keys.resize(count);
  std::uint64_t next = 0;
  for (std::size_t i = 0; i < count; ++i) {
    Stored delta;
    std::memcpy(&delta, deltas + i * sizeof(Stored), sizeof(Stored));
    next += delta;
    keys[i] = static_cast<std::uint32_t>(next);
    ++next;
  }
  require(next <= std::numeric_limits<std::uint32_t>::max(), in.what(), "a key is larger than 32 bits");
}

template <typename Stored>
std::uint64_t read_lengths(ByteReader& in, std::vector<std::uint32_t>& row_begin) {
  const auto rows = row_begin.size() - 1;
  const auto* lengths = in.take(rows * sizeof(Stored)).data();
  std::uint64_t end = 0;
  for (std::size_t row = 0; row < rows; ++row) {
    Stored length;
    std::memcpy(&length, lengths + row * sizeof(Stored), sizeof(Stored));
    end += length;
    row_begin[row + 1] = static_cast<std::uint32_t>(end);
  }
  return end;
}

std::uint64_t read_one_length(ByteReader& in, std::vector<std::uint32_t>& row_begin) {
  const auto length = in.get<std::uint32_t>();
  for (std::size_t row = 1; row < row_begin.size(); ++row) {
    row_begin[row] = row_begin[row - 1] + length;
  }
  return std::uint64_t{length} * (row_begin.size() - 1);
}

void read_row_begin(ByteReader& in, std::vector<std::uint32_t>& row_begin, const GroupHeader& header) {
  row_begin.resize(std::size_t{header.rows} + 1);
  const auto entries = header.length_bytes == 0   ? read_one_length(in, row_begin)
                       : header.length_bytes == 1 ? read_lengths<std::uint8_t>(in, row_begin)
                       : header.length_bytes == 2 ? read_lengths<std::uint16_t>(in, row_begin)
                                                  : read_lengths<std::uint32_t>(in, row_begin);
  require(entries == header.nonzeros, in.what(), "the lengths of the rows do not add up");
}

/// How often an index is not larger than the one before it. Counted in short pieces, so that the count has the width
/// of an index and the loop becomes plain vector code.
template <typename Index>
std::size_t count_descents(const Array<Index>& indices) {
  constexpr std::size_t kPiece = 32768;
  std::size_t descents = 0;
  for (std::size_t begin = 1; begin < indices.size(); begin += kPiece) {
    const auto end = std::min(indices.size(), begin + kPiece);
    Index in_piece = 0;
    for (std::size_t i = begin; i < end; ++i) in_piece = static_cast<Index>(in_piece + (indices[i - 1] >= indices[i]));
    descents += in_piece;
  }
  return descents;
}

/// Do the indices of each row ascend strictly and lie below `dictionary`? They do if indices descend nowhere but
/// between rows, and the last of each row is small enough: one pass over all, one look at each row.
template <typename Index>
bool valid_indices(const Array<Index>& indices, const std::vector<std::uint32_t>& row_begin, std::uint64_t dictionary) {
  std::size_t between_rows = 0;
  bool inside = true;
  for (std::size_t row = 0; row + 1 < row_begin.size(); ++row) {
    const auto begin = row_begin[row];
    const auto end = row_begin[row + 1];
    if (begin == end) continue;
    inside &= indices[end - 1] < dictionary;
    if (end < indices.size()) between_rows += static_cast<std::size_t>(indices[end - 1] >= indices[end]);
  }
  return inside && count_descents(indices) == between_rows;
}

void read_indices(ByteReader& in, RowGroup& group, const GroupHeader& header) {
  if (group.wide()) {
    read_as<std::uint32_t>(in, group.indices32, header.nonzeros);
  } else if (index_bytes(header) == 2) {
    read_as<std::uint16_t>(in, group.indices16, header.nonzeros);
  } else {
    read_as<std::uint8_t>(in, group.indices16, header.nonzeros);
  }
  require(group.wide() ? valid_indices(group.indices32, group.row_begin, group.keys.size())
                       : valid_indices(group.indices16, group.row_begin, group.keys.size()),
          in.what(), "the indices of a row do not ascend within the dictionary");
}

void read_sparse(ByteReader& in, RowGroup& group, const GroupHeader& header) {
  if (header.key_bytes == 1) read_keys<std::uint8_t>(in, group.keys, header.columns);
  if (header.key_bytes == 2) read_keys<std::uint16_t>(in, group.keys, header.columns);
  if (header.key_bytes == 4) read_keys<std::uint32_t>(in, group.keys, header.columns);
  read_row_begin(in, group.row_begin, header);
  read_indices(in, group, header);
  read_floats(in, group.values, header.nonzeros, header.value_bytes);
}

}  // namespace

RowGroup decode_group(ByteView bytes, std::string_view what) {
  const auto header = read_header(bytes, what);
  check_header(header, what);
  auto body = bytes.subspan(sizeof header);
  require(body.size() == header.stored_bytes, what, "it is longer than its header says");
  const auto crc = crc32c(body, crc32c(bytes.first(offsetof(GroupHeader, crc32c))));
  require(crc == header.crc32c, what, "the checksum does not match");
  Bytes unpacked;
  if ((header.flags & kPackedFlag) != 0) {
    unpacked = unpack(body, header.body_bytes, what);
    body = unpacked;
  }

  ByteReader in(body, what);
  RowGroup group;
  group.rows = header.rows;
  group.dense = (header.flags & kDenseFlag) != 0;
  if (group.dense) {
    group.columns = header.columns;
    read_floats(in, group.matrix, header.nonzeros, header.value_bytes);
  } else {
    read_sparse(in, group, header);
  }
  read_floats(in, group.labels, header.rows, header.label_bytes);
  read_floats(in, group.weights, header.rows, header.weight_bytes);
  const bool negative = std::ranges::any_of(group.weights, [](float weight) { return weight < 0; });
  require(!negative, what, "a weight is negative");
  return group;
}

std::vector<ByteView> split_block(ByteView block, std::string_view what) {
  std::vector<ByteView> groups;
  while (!block.empty()) {
    const auto size = sizeof(GroupHeader) + read_header(block, what).stored_bytes;
    groups.push_back(block.first(size));
    block = block.subspan(size);
  }
  return groups;
}

}  // namespace virga
