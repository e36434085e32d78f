#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "virga/base/bytes.h"
#include "virga/data/parsed_rows.h"

namespace virga {

/// A file without a name in `directory` (created if need be): it is gone with the process, however that ends. It is
/// made when the first bytes come. Several threads may use it.
class SpillFile {
 public:
  explicit SpillFile(std::filesystem::path directory);
  ~SpillFile();
  SpillFile(const SpillFile&) = delete;
  SpillFile& operator=(const SpillFile&) = delete;

  /// Appends `bytes` and returns where they lie. Throws Error(kIo), for a full disk too.
  [[nodiscard]] std::uint64_t append(ByteView bytes);
  void read(std::uint64_t offset, std::span<std::byte> out) const;
  [[nodiscard]] std::uint64_t bytes() const noexcept { return end_.load(std::memory_order_relaxed); }

 private:
  void open();

  const std::filesystem::path directory_;
  std::once_flag opened_;
  int descriptor_ = -1;
  std::atomic<std::uint64_t> end_{0};
};

/// A row between parsing and its block. It stands in memory as this head, then `count` ids (unless the rows are dense),
/// then `count` values (unless all are 1).
struct StoredRow {
  std::uint64_t key;   ///< rows are put in the order of their random keys,
  std::uint64_t item;  ///< and those of equal keys in the order of their lines
  double label;
  float weight;
  std::uint32_t count : 31;
  std::uint32_t ones : 1;

  [[nodiscard]] const std::uint32_t* ids() const noexcept { return reinterpret_cast<const std::uint32_t*>(this + 1); }
  [[nodiscard]] const float* values(bool dense) const noexcept {
    return reinterpret_cast<const float*>(this + 1) + (dense ? 0 : count);
  }
  [[nodiscard]] std::size_t bytes(bool dense) const noexcept;
};
static_assert(sizeof(StoredRow) == 32);

/// The rows of one bucket, in order, and the memory that they lie in.
struct OrderedRows {
  std::vector<std::unique_ptr<std::byte[]>> memory;
  std::vector<const StoredRow*> rows;
};

/// Shuffles any number of rows in bounded memory: each row has a random key; rows are collected in buckets by the high
/// bits of their keys, and sorted bucket by bucket. So their order is that of the keys, whatever the number of buckets,
/// the memory and the threads. Beyond `memory_bytes` (or 1 MiB, if that is more) full pages of buckets go to a file.
class RowBuckets {
 public:
  static constexpr std::size_t kBuckets = 256;
  static constexpr std::size_t kLargestPage = std::size_t{32} << 10;
  static constexpr std::size_t kSmallestPage = std::size_t{4} << 10;

  struct KeyedRow {
    std::uint64_t key;
    std::uint32_t row;  ///< index into ParsedRows::rows
  };

  /// `spill` is borrowed. `shift`: how many of the highest bits of the keys are the same in all rows.
  RowBuckets(SpillFile& spill, std::uint64_t memory_bytes, bool dense, unsigned shift = 0);

  /// Copies rows into their buckets; several threads may. Throws what SpillFile::append throws.
  void append(const ParsedRows& parsed, std::span<const KeyedRow> keyed);
  void append(const StoredRow& row);

  [[nodiscard]] std::uint64_t rows() const noexcept { return rows_.load(std::memory_order_relaxed); }

  /// Hands out all rows in order, in batches of about `batch_bytes` (one at least, and one of several buckets where a
  /// bucket holds less), and forgets them: buckets of a batch are read and sorted by `threads` threads, `take` is
  /// called on this one. A bucket beyond `batch_bytes` is divided once more.
  void drain(unsigned threads, std::uint64_t batch_bytes, const std::function<void(std::vector<OrderedRows>)>& take);

 private:
  struct Page {
    std::unique_ptr<std::byte[]> memory;  // null: in the spill file at `offset`
    std::uint64_t offset = 0;
    std::uint32_t used = 0;
    std::uint32_t capacity = 0;
  };
  struct Bucket {
    std::mutex mutex;
    std::vector<Page> pages;
    std::uint64_t bytes = 0;
  };

  [[nodiscard]] std::size_t bucket_of(std::uint64_t key) const noexcept { return (key << shift_) >> 56; }
  [[nodiscard]] std::byte* reserve(Bucket& bucket, std::size_t bytes);
  void open_page(Bucket& bucket, std::size_t bytes);
  [[nodiscard]] OrderedRows load(Bucket& bucket);
  void divide(Bucket& bucket, unsigned threads, std::uint64_t batch_bytes,
              const std::function<void(std::vector<OrderedRows>)>& take);

  SpillFile& spill_;
  const std::uint64_t memory_bytes_;
  const std::size_t page_bytes_;  // the open pages of all buckets take half of the memory at most
  const bool dense_;
  const unsigned shift_;
  std::atomic<std::uint64_t> in_memory_{0};
  std::atomic<std::uint64_t> rows_{0};
  std::vector<Bucket> buckets_;
};

}  // namespace virga
