#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "virga/base/bytes.h"
#include "virga/batch/row_group.h"
#include "virga/data/manifest.h"
#include "virga/storage/object_store.h"

namespace virga {

/// A block is an object of encoded row groups, one after the other: see docs/formats/block.md.

enum class Compression : std::uint8_t { kNone, kZstd };

/// `group` in the block format; exactly decode_group() gives it back. With kZstd the body is packed if that makes it
/// smaller. Requires a valid group of at least one row (row_group.h). Throws Error(kTooLarge) beyond 4 GiB.
[[nodiscard]] Bytes encode_group(const RowGroup& group, Compression compression = Compression::kNone);

/// The group that `bytes` holds, all of it and no more. Everything that kernels rely on is checked: keys and the
/// indices of a row ascend strictly, indices lie in the dictionary, values are finite, weights not negative. (That keys
/// and labels fit the data set is checked against its manifest: check_group() in loader.h.) Throws Error(kCorrupt),
/// naming `what`; allocates no more than a fixed multiple of bytes.size().
[[nodiscard]] RowGroup decode_group(ByteView bytes, std::string_view what);

/// The encoded groups of a whole block, in order; they look into `block`. Only their sizes are checked.
[[nodiscard]] std::vector<ByteView> split_block(ByteView block, std::string_view what);

/// Collects encoded groups into blocks of about `target_bytes` and stores them as PREFIX000000.blk, PREFIX000001.blk,
/// ... Groups may be encoded on other threads; one thread at a time adds them, in their order. Holds one block in
/// memory.
class BlockWriter {
 public:
  static constexpr std::uint64_t kTargetBytes = std::uint64_t{8} << 20;

  /// `store` is borrowed.
  BlockWriter(ObjectStore& store, std::string prefix, std::uint64_t target_bytes = kTargetBytes);

  /// Appends one group of `rows` rows. Throws what ObjectStore::put throws.
  void add(ByteView encoded_group, std::uint32_t rows);

  /// Stores what is left and returns all blocks, for the manifest. Nothing may be added afterwards.
  [[nodiscard]] std::vector<BlockInfo> finish();

 private:
  void flush();

  ObjectStore& store_;
  const std::string prefix_;
  const std::uint64_t target_bytes_;
  Bytes block_;
  BlockInfo info_;  // of block_
  std::vector<BlockInfo> blocks_;
};

}  // namespace virga
