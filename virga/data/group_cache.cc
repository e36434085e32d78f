#include "virga/data/group_cache.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>

#include <fmt/format.h>

#include "virga/data/block.h"
#include "virga/data/scaling.h"

namespace virga {
namespace {

constexpr std::uint64_t kRunBytes = std::uint64_t{1} << 20;
/// Of the budget: a run must not push out what was read shortly before. A block's groups are visited in random order,
/// so up to a block's runs are in use at a time.
constexpr std::uint64_t kRunShare = 64;

std::uint64_t key_of(GroupId id) noexcept {
  return (static_cast<std::uint64_t>(id.split) << 62) | (std::uint64_t{id.block} << 31) | id.group;
}

/// Where each group of a block begins, and where the last ends.
std::vector<std::uint64_t> group_offsets(const BlockInfo& block) {
  std::vector<std::uint64_t> offsets = {0};
  for (const auto bytes : block.group_bytes) offsets.push_back(offsets.back() + bytes);
  return offsets;
}

std::uint32_t rows_of_group(const BlockInfo& block, std::uint32_t group, std::uint32_t rows_per_group) {
  const auto first = std::uint64_t{group} * rows_per_group;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(block.rows - first, rows_per_group));
}

bool are_classes(const std::vector<float>& labels, std::size_t classes) {
  const auto count = static_cast<float>(classes);
  bool good = true;
  for (const float label : labels) {
    const bool inside = label >= 0 && label < count;
    good &= inside && static_cast<float>(static_cast<int>(inside ? label : 0.0F)) == label;
  }
  return good;
}

}  // namespace

const Split& split_of(const Manifest& manifest, SplitName name) noexcept {
  return name == SplitName::kTrain        ? manifest.train
         : name == SplitName::kValidation ? manifest.validation
                                          : manifest.test;
}

std::uint64_t memory_bytes(const RowGroup& group) noexcept {
  const auto of = [](const auto& values) { return values.capacity() * sizeof(values[0]); };
  return sizeof group + of(group.keys) + of(group.row_begin) + of(group.indices16) + of(group.indices32) +
         of(group.values) + of(group.matrix) + of(group.labels) + of(group.weights);
}

void check_group(const Encoding& encoding, const RowGroup& group, std::uint32_t rows, std::string_view what) {
  const auto require = [&](bool condition, std::string_view reason) {
    if (condition) return;
    throw Error(ErrorKind::kCorrupt, fmt::format("{}: {}", what, reason), "the data set is damaged; import it again");
  };
  require(group.rows == rows, "the number of rows is not the manifest's");
  require(group.dense == encoding.dense, "it is dense where the set is sparse, or the other way round");
  require(
      group.dense ? group.columns == encoding.features : group.keys.empty() || group.keys.back() < encoding.features,
      "it has features that the set does not have");
  require(encoding.task == Task::kRegression || are_classes(group.labels, encoding.classes.size()),
          "a label is not one of the classes");
}

/// The groups that one thread is loading. What it has not published in the end is given up, so that others may try.
class GroupCache::Claim {
 public:
  /// Needs the mutex.
  Claim(GroupCache& cache, SplitName split, GroupRun run)
      : cache_(cache), split_(split), run_(run), published_(run.last - run.first) {
    for (auto group = run_.first; group < run_.last; ++group) cache_.entries_.emplace(key(group), Entry{});
  }
  ~Claim() {
    const std::lock_guard lock(cache_.mutex_);
    for (auto group = run_.first; group < run_.last; ++group) {
      if (!published_[group - run_.first]) cache_.entries_.erase(key(group));
    }
    cache_.buffers_.push_back(std::move(buffer));
    cache_.loaded_.notify_all();
  }
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;

  [[nodiscard]] const GroupRun& run() const noexcept { return run_; }
  void publish(std::uint32_t group, const RowGroupPtr& decoded) {
    cache_.publish(key(group), decoded);
    published_[group - run_.first] = true;
  }

  Bytes buffer;  // the encoded run

 private:
  [[nodiscard]] Key key(std::uint32_t group) const noexcept { return key_of({split_, run_.block, group}); }

  GroupCache& cache_;
  const SplitName split_;
  const GroupRun run_;
  std::vector<bool> published_;
};

GroupCache::GroupCache(const ObjectStore& store, const Manifest& manifest, std::uint64_t budget_bytes)
    : store_(store),
      manifest_(manifest),
      budget_bytes_(budget_bytes),
      run_bytes_(std::clamp<std::uint64_t>(budget_bytes / kRunShare, 1, kRunBytes)) {}

RowGroupPtr GroupCache::get(GroupId id) {
  std::unique_lock lock(mutex_);
  while (true) {
    const auto entry = entries_.find(key_of(id));
    if (entry == entries_.end()) break;
    if (entry->second.group) {
      uses_.splice(uses_.begin(), uses_, entry->second.use);
      ++statistics_.hits;
      return entry->second.group;
    }
    loaded_.wait(lock);
  }
  Claim claim(*this, id.split, missing_around(id));
  claim.buffer = take_buffer();
  lock.unlock();
  return load(id, claim);
}

/// The run of groups around `id` that nobody has, within the part of the block that is read at once. Needs the mutex.
GroupRun GroupCache::missing_around(GroupId id) const {
  const auto offsets = group_offsets(split_of(manifest_, id.split).blocks[id.block]);
  const auto part = offsets[id.group] / run_bytes_;
  const auto belongs = [&](std::uint32_t group) {
    return offsets[group] / run_bytes_ == part && !entries_.contains(key_of({id.split, id.block, group}));
  };
  GroupRun run{.block = id.block, .first = id.group, .last = id.group + 1};
  while (run.first > 0 && belongs(run.first - 1)) --run.first;
  while (run.last + 1 < offsets.size() && belongs(run.last)) ++run.last;
  return run;
}

RowGroupPtr GroupCache::load(GroupId id, Claim& claim) {
  const auto& block = split_of(manifest_, id.split).blocks[id.block];
  const auto& run = claim.run();
  const auto offsets = group_offsets(block);
  const auto begin = offsets[run.first];
  const auto size = offsets[run.last] - begin;
  if (claim.buffer.size() < size) claim.buffer.resize(size);
  store_.get_range(block.name, begin, std::span(claim.buffer).first(size));

  const auto load_one = [&](std::uint32_t group) {
    const auto bytes = ByteView(claim.buffer).subspan(offsets[group] - begin, block.group_bytes[group]);
    auto decoded = decode({id.split, id.block, group}, bytes);
    claim.publish(group, decoded);
    return decoded;
  };
  // The one that is asked for comes first: another thread may be waiting for it, too.
  auto wanted = load_one(id.group);
  for (auto group = run.first; group < run.last; ++group) {
    if (group != id.group) load_one(group);
  }
  const std::lock_guard lock(mutex_);
  ++statistics_.reads;
  statistics_.read_bytes += size;
  return wanted;
}

RowGroupPtr GroupCache::decode(GroupId id, ByteView bytes) const {
  const auto& block = split_of(manifest_, id.split).blocks[id.block];
  const auto what = fmt::format("{}/{}, group {}", store_.uri(), block.name, id.group);
  auto group = std::make_shared<RowGroup>(decode_group(bytes, what));
  check_group(manifest_.encoding, *group, rows_of_group(block, id.group, manifest_.rows_per_group), what);
  scale(manifest_.encoding, *group);
  return group;
}

/// Keeps a group that was claimed, if it fits the budget; makes room for it.
void GroupCache::publish(Key key, const RowGroupPtr& group) {
  const auto bytes = memory_bytes(*group);
  std::vector<RowGroupPtr> dropped;  // freed without the mutex
  const std::lock_guard lock(mutex_);
  ++statistics_.decoded;
  if (bytes > budget_bytes_) {
    entries_.erase(key);
    loaded_.notify_all();
    return;
  }
  while (statistics_.kept_bytes + bytes > budget_bytes_) {
    const auto oldest = entries_.find(uses_.back());
    statistics_.kept_bytes -= oldest->second.bytes;
    dropped.push_back(std::move(oldest->second.group));
    entries_.erase(oldest);
    uses_.pop_back();
  }
  uses_.push_front(key);
  entries_[key] = {.group = group, .bytes = bytes, .use = uses_.begin()};
  statistics_.kept_bytes += bytes;
  statistics_.peak_bytes = std::max(statistics_.peak_bytes, statistics_.kept_bytes);
  loaded_.notify_all();
}

/// Needs the mutex.
Bytes GroupCache::take_buffer() {
  if (buffers_.empty()) return {};
  auto buffer = std::move(buffers_.back());
  buffers_.pop_back();
  return buffer;
}

std::vector<GroupRun> GroupCache::runs(SplitName split) const {
  std::vector<GroupRun> result;
  const auto& blocks = split_of(manifest_, split).blocks;
  for (std::uint32_t block = 0; block < blocks.size(); ++block) {
    const auto offsets = group_offsets(blocks[block]);
    for (std::uint32_t group = 0; group + 1 < offsets.size(); ++group) {
      const bool same = group > 0 && offsets[group] / run_bytes_ == offsets[group - 1] / run_bytes_;
      if (same) {
        ++result.back().last;
      } else {
        result.push_back({.block = block, .first = group, .last = group + 1});
      }
    }
  }
  return result;
}

GroupCache::Statistics GroupCache::statistics() const {
  const std::lock_guard lock(mutex_);
  return statistics_;
}

}  // namespace virga
