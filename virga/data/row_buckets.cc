#include "virga/data/row_buckets.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "virga/base/error.h"
#include "virga/base/threads.h"

namespace virga {

SpillFile::SpillFile(std::filesystem::path directory) : directory_(std::move(directory)) {}

SpillFile::~SpillFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void SpillFile::open() {
  std::error_code error;
  std::filesystem::create_directories(directory_, error);
  if (error) throw system_error("cannot create " + directory_.string(), error.value());
  auto name = (directory_ / ".rows.XXXXXX").string();
  descriptor_ = ::mkostemp(name.data(), O_CLOEXEC);
  if (descriptor_ < 0) throw system_error("cannot create a temporary file in " + directory_.string(), errno);
  ::unlink(name.c_str());
}

std::uint64_t SpillFile::append(ByteView bytes) {
  std::call_once(opened_, [this] { open(); });
  const auto offset = end_.fetch_add(bytes.size());
  for (std::size_t done = 0; done < bytes.size();) {
    const auto count =
        ::pwrite(descriptor_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw system_error("cannot write a temporary file in " + directory_.string(), errno);
    done += static_cast<std::size_t>(count);
  }
  return offset;
}

void SpillFile::read(std::uint64_t offset, std::span<std::byte> out) const {
  for (std::size_t done = 0; done < out.size();) {
    const auto count = ::pread(descriptor_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0)
      throw system_error("cannot read a temporary file in " + directory_.string(), count < 0 ? errno : EIO);
    done += static_cast<std::size_t>(count);
  }
}

std::size_t StoredRow::bytes(bool dense) const noexcept {
  const std::size_t arrays = (dense ? 0U : 1U) + (ones != 0 ? 0U : 1U);
  // The next head is aligned as this one.
  return (sizeof(StoredRow) + arrays * count * sizeof(float) + 7) & ~std::size_t{7};
}

RowBuckets::RowBuckets(SpillFile& spill, std::uint64_t memory_bytes, bool dense, unsigned shift)
    : spill_(spill),
      memory_bytes_(memory_bytes),
      page_bytes_(std::clamp<std::size_t>(memory_bytes / (2 * kBuckets), kSmallestPage, kLargestPage)),
      dense_(dense),
      shift_(shift),
      buckets_(kBuckets) {}

void RowBuckets::append(const ParsedRows& parsed, std::span<const KeyedRow> keyed) {
  // A counting sort by bucket, so that each bucket is locked once.
  std::array<std::uint32_t, kBuckets + 1> ends{};
  for (const auto& row : keyed) ++ends[bucket_of(row.key) + 1];
  for (std::size_t b = 0; b < kBuckets; ++b) ends[b + 1] += ends[b];
  auto next = ends;
  std::vector<std::uint32_t> order(keyed.size());
  for (std::uint32_t i = 0; i < keyed.size(); ++i) order[next[bucket_of(keyed[i].key)]++] = i;

  for (std::size_t b = 0; b < kBuckets; ++b) {
    if (ends[b] == ends[b + 1]) continue;
    const std::lock_guard lock(buckets_[b].mutex);
    for (auto i = ends[b]; i < ends[b + 1]; ++i) {
      const auto& row = parsed.rows[keyed[order[i]].row];
      const StoredRow head{.key = keyed[order[i]].key,
                           .item = row.item,
                           .label = row.label,
                           .weight = row.weight,
                           .count = row.count & 0x7FFFFFFFU,
                           .ones = row.ones};
      auto* out = reserve(buckets_[b], head.bytes(dense_));
      std::memcpy(out, &head, sizeof head);
      out += sizeof head;
      const auto array_bytes = row.count * sizeof(float);
      if (!dense_ && array_bytes > 0) {
        std::memcpy(out, parsed.ids.data() + row.begin, array_bytes);
        out += array_bytes;
      }
      if (!row.ones && array_bytes > 0) std::memcpy(out, parsed.values.data() + row.begin, array_bytes);
    }
  }
  rows_ += keyed.size();
}

void RowBuckets::append(const StoredRow& row) {
  auto& bucket = buckets_[bucket_of(row.key)];
  const std::lock_guard lock(bucket.mutex);
  const auto bytes = row.bytes(dense_);
  std::memcpy(reserve(bucket, bytes), &row, bytes);
  ++rows_;
}

/// Room for a row. Requires the bucket's mutex.
std::byte* RowBuckets::reserve(Bucket& bucket, std::size_t bytes) {
  if (bucket.pages.empty() || bucket.pages.back().capacity - bucket.pages.back().used < bytes) open_page(bucket, bytes);
  auto& page = bucket.pages.back();
  auto* place = page.memory.get() + page.used;
  page.used += static_cast<std::uint32_t>(bytes);
  bucket.bytes += bytes;
  return place;
}

/// Begins a page of at least `bytes`; the one before goes to the file if there is no memory for both.
void RowBuckets::open_page(Bucket& bucket, std::size_t bytes) {
  Page page;
  page.capacity = static_cast<std::uint32_t>(std::max(bytes, page_bytes_));
  if (!bucket.pages.empty() && in_memory_.load(std::memory_order_relaxed) + page.capacity > memory_bytes_) {
    auto& full = bucket.pages.back();
    full.offset = spill_.append({full.memory.get(), full.used});
    in_memory_ -= full.capacity;
    if (full.capacity == page.capacity) page.memory = std::move(full.memory);
    full.memory.reset();
  }
  if (!page.memory) page.memory = std::make_unique_for_overwrite<std::byte[]>(page.capacity);
  in_memory_ += page.capacity;
  bucket.pages.push_back(std::move(page));
}

/// Takes the bucket's rows out of it, sorted.
OrderedRows RowBuckets::load(Bucket& bucket) {
  OrderedRows loaded;
  for (auto& page : bucket.pages) {
    if (page.memory) {
      in_memory_ -= page.capacity;
    } else {
      page.memory = std::make_unique_for_overwrite<std::byte[]>(page.used);
      spill_.read(page.offset, {page.memory.get(), page.used});
    }
    for (std::size_t at = 0; at < page.used;) {
      const auto* row = reinterpret_cast<const StoredRow*>(page.memory.get() + at);
      loaded.rows.push_back(row);
      at += row->bytes(dense_);
    }
    loaded.memory.push_back(std::move(page.memory));
  }
  bucket.pages.clear();
  bucket.bytes = 0;
  std::ranges::sort(loaded.rows, [](const StoredRow* a, const StoredRow* b) {
    return std::pair(a->key, a->item) < std::pair(b->key, b->item);
  });
  return loaded;
}

void RowBuckets::drain(unsigned threads, std::uint64_t batch_bytes,
                       const std::function<void(std::vector<OrderedRows>)>& take) {
  for (std::size_t first = 0; first < kBuckets;) {
    std::size_t last = first;
    for (std::uint64_t bytes = 0; last < kBuckets && bytes + buckets_[last].bytes <= batch_bytes; ++last) {
      bytes += buckets_[last].bytes;
    }
    if (last == first) {
      divide(buckets_[first++], threads, batch_bytes, take);
      continue;
    }
    std::vector<OrderedRows> batch(last - first);
    parallel_for(threads, batch.size(), [&](std::size_t i) { batch[i] = load(buckets_[first + i]); });
    std::erase_if(batch, [](const OrderedRows& bucket) { return bucket.rows.empty(); });
    if (!batch.empty()) take(std::move(batch));
    first = last;
  }
}

/// A bucket that is too large becomes buckets by the next bits of the keys. Where no bits are left, or one row alone is
/// too large, it is taken as it is.
void RowBuckets::divide(Bucket& bucket, unsigned threads, std::uint64_t batch_bytes,
                        const std::function<void(std::vector<OrderedRows>)>& take) {
  constexpr unsigned kDeepest = 48;
  if (shift_ >= kDeepest || bucket.pages.size() == 1) {
    std::vector<OrderedRows> batch;
    batch.push_back(load(bucket));
    take(std::move(batch));
    return;
  }
  RowBuckets parts(spill_, batch_bytes, dense_, shift_ + 8);
  for (auto& page : bucket.pages) {
    Bucket single;
    single.pages.push_back(std::move(page));
    const auto loaded = load(single);
    for (const auto* row : loaded.rows) parts.append(*row);
  }
  bucket.pages.clear();
  bucket.bytes = 0;
  parts.drain(threads, batch_bytes, take);
}

}  // namespace virga
