#include <utility>

#include <fmt/format.h>

#include "virga/base/hash.h"
#include "virga/data/block.h"

namespace virga {

BlockWriter::BlockWriter(ObjectStore& store, std::string prefix, std::uint64_t target_bytes)
    : store_(store), prefix_(std::move(prefix)), target_bytes_(target_bytes) {}

void BlockWriter::add(ByteView encoded_group, std::uint32_t rows) {
  if (!block_.empty() && block_.size() + encoded_group.size() > target_bytes_) flush();
  if (block_.empty()) block_.reserve(std::max<std::uint64_t>(target_bytes_, encoded_group.size()));
  block_.insert(block_.end(), encoded_group.begin(), encoded_group.end());
  info_.rows += rows;
  info_.group_bytes.push_back(static_cast<std::uint32_t>(encoded_group.size()));
}

std::vector<BlockInfo> BlockWriter::finish() {
  if (!block_.empty()) flush();
  return std::exchange(blocks_, {});
}

void BlockWriter::flush() {
  info_.name = fmt::format("{}{:06}.blk", prefix_, blocks_.size());
  info_.bytes = block_.size();
  info_.crc32c = crc32c(block_);
  store_.put(info_.name, block_);
  blocks_.push_back(std::exchange(info_, {}));
  block_.clear();
}

}  // namespace virga
