#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>

#include "virga/base/bytes.h"

namespace virga {

/// Immutable bytes with any number of owners; a copy is another owner of the same bytes. They begin at an address that
/// is a multiple of 16.
class SharedBytes {
 public:
  SharedBytes() = default;

  /// `fill` writes all `size` bytes, which are unspecified before.
  template <typename Fill>
  [[nodiscard]] static SharedBytes make(std::size_t size, const Fill& fill) {
    // Not make_shared, whose bytes need not be aligned.
    std::shared_ptr<std::byte[]> data(new std::byte[size]);
    fill(std::span(data.get(), size));
    return {std::move(data), size};
  }
  /// The first `size` of `data`, which nobody changes any more, and whose deleter may keep the memory for the next.
  [[nodiscard]] static SharedBytes over(std::shared_ptr<const std::byte[]> data, std::size_t size) {
    return {std::move(data), size};
  }
  /// Without copying them.
  [[nodiscard]] static SharedBytes of(Bytes bytes) {
    const auto owner = std::make_shared<Bytes>(std::move(bytes));
    return {std::shared_ptr<const std::byte[]>(owner, owner->data()), owner->size()};
  }
  [[nodiscard]] static SharedBytes copy_of(ByteView bytes) {
    return make(bytes.size(), [&](std::span<std::byte> to) {
      if (!bytes.empty()) std::memcpy(to.data(), bytes.data(), bytes.size());
    });
  }

  [[nodiscard]] ByteView view() const noexcept { return {data_.get(), size_}; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  SharedBytes(std::shared_ptr<const std::byte[]> data, std::size_t size) : data_(std::move(data)), size_(size) {}

  std::shared_ptr<const std::byte[]> data_;
  std::size_t size_ = 0;
};

}  // namespace virga
