#include "virga/channel/direct_memory.h"

#include <algorithm>
#include <utility>

namespace virga {
namespace {

/// What malloc keeps itself (keep_freed_memory()) is smaller.
constexpr std::size_t kLeastBytes = std::size_t{16} << 20;
/// Between the last round of a message and the first that can have its memory.
constexpr std::size_t kMostKept = 3;

}  // namespace

SharedBytes DirectMemory::take(std::size_t size, std::span<std::byte>& to) {
  if (size < kLeastBytes) return SharedBytes::make(size, [&to](std::span<std::byte> bytes) { to = bytes; });
  Buffer buffer;
  {
    const std::lock_guard lock(kept_->mutex);
    auto& buffers = kept_->buffers;
    const auto at =
        std::ranges::find_if(buffers, [size](const Buffer& one) { return one.size >= size && one.size / 2 <= size; });
    if (at != buffers.end()) {
      buffer = std::move(*at);
      buffers.erase(at);
    }
  }
  if (!buffer.bytes) buffer = {std::unique_ptr<std::byte[]>(new std::byte[size]), size};
  to = {buffer.bytes.get(), size};
  const auto give_back = [kept = kept_, capacity = buffer.size](std::byte* bytes) noexcept {
    Buffer freed{std::unique_ptr<std::byte[]>(bytes), capacity};
    const std::lock_guard lock(kept->mutex);
    auto& buffers = kept->buffers;
    if (buffers.capacity() < kMostKept) return;
    if (buffers.size() == kMostKept) buffers.erase(buffers.begin());  // of another size, or too many at once
    buffers.push_back(std::move(freed));
  };
  {
    const std::lock_guard lock(kept_->mutex);
    kept_->buffers.reserve(kMostKept);
  }
  auto* const bytes = buffer.bytes.release();
  return SharedBytes::over(
      std::shared_ptr<const std::byte[]>(bytes, [give_back, bytes](const std::byte*) { give_back(bytes); }), size);
}

}  // namespace virga
