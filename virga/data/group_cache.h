#pragma once

#include <condition_variable>
#include <cstdint>
#include <list>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "virga/base/bytes.h"
#include "virga/batch/row_group.h"
#include "virga/data/manifest.h"
#include "virga/storage/object_store.h"

namespace virga {

enum class SplitName : std::uint8_t { kTrain, kValidation, kTest };
[[nodiscard]] const Split& split_of(const Manifest& manifest, SplitName name) noexcept;

struct GroupId {
  SplitName split = SplitName::kTrain;
  std::uint32_t block = 0;
  std::uint32_t group = 0;
};

/// Adjacent groups of one block, [first, last).
struct GroupRun {
  std::uint32_t block = 0;
  std::uint32_t first = 0;
  std::uint32_t last = 0;
};

/// Bytes that a group takes in memory.
[[nodiscard]] std::uint64_t memory_bytes(const RowGroup& group) noexcept;

/// Throws Error(kCorrupt), naming `what`, unless a decoded group fits its set: the number of rows, dense or sparse,
/// keys below the number of features, labels that are classes.
void check_group(const Encoding& encoding, const RowGroup& group, std::uint32_t rows, std::string_view what);

/// The groups of a set, decoded and scaled, shared by threads: a group that several want is read and decoded once, and
/// kept, the least recently used leaving first, while all that is kept stays within a budget. So data that fits is
/// decoded once for all epochs, and data that does not is streamed. Groups are read in runs: what is missing beside a
/// group is read with it, up to 1 MiB (less where the budget is small), because few large reads are fast on any store.
///
/// Memory: the budget, and for each thread that loads a run of encoded groups and one decoded. Who holds a RowGroupPtr
/// keeps that group alive beyond this.
class GroupCache {
 public:
  struct Statistics {
    std::uint64_t hits = 0;
    std::uint64_t reads = 0;  ///< ranges read from the store
    std::uint64_t read_bytes = 0;
    std::uint64_t decoded = 0;  ///< groups
    std::uint64_t kept_bytes = 0;
    std::uint64_t peak_bytes = 0;  ///< most that was ever kept
  };

  /// `store` and `manifest` are borrowed.
  GroupCache(const ObjectStore& store, const Manifest& manifest, std::uint64_t budget_bytes);
  GroupCache(const ObjectStore& store, Manifest&& manifest, std::uint64_t budget_bytes) = delete;  // would dangle

  /// The group, which must be one of the manifest's. May wait for another thread that is loading it. Throws what
  /// reading throws, and Error(kCorrupt); a later call tries again.
  [[nodiscard]] RowGroupPtr get(GroupId id);

  /// All groups of a split in order, cut where runs are.
  [[nodiscard]] std::vector<GroupRun> runs(SplitName split) const;

  [[nodiscard]] const Manifest& manifest() const noexcept { return manifest_; }
  [[nodiscard]] Statistics statistics() const;

 private:
  using Key = std::uint64_t;
  struct Entry {
    RowGroupPtr group;  // none while a thread loads it
    std::uint64_t bytes = 0;
    std::list<Key>::iterator use;
  };
  class Claim;

  [[nodiscard]] GroupRun missing_around(GroupId id) const;
  [[nodiscard]] RowGroupPtr load(GroupId id, Claim& claim);
  [[nodiscard]] RowGroupPtr decode(GroupId id, ByteView bytes) const;
  void publish(Key key, const RowGroupPtr& group);
  [[nodiscard]] Bytes take_buffer();

  const ObjectStore& store_;
  const Manifest& manifest_;
  const std::uint64_t budget_bytes_;
  const std::uint64_t run_bytes_;

  mutable std::mutex mutex_;  // guards all below
  std::condition_variable loaded_;
  std::unordered_map<Key, Entry> entries_;
  std::list<Key> uses_;         // of the groups that are kept, the latest first
  std::vector<Bytes> buffers_;  // for encoded runs, used again
  Statistics statistics_;
};

}  // namespace virga
