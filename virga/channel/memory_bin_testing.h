#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "virga/channel/message_bin.h"

namespace virga {

/// A MessageBin in memory, which counts what it is asked. Objects that are made from one Shared see the same values.
class MemoryBin final : public MessageBin {
 public:
  struct Shared {
    std::mutex mutex;  // guards all
    std::map<std::string, SharedBytes> values;
    std::vector<std::vector<std::string>> fetches;  ///< the names of each
    std::uint64_t puts = 0;
    std::uint64_t removes = 0;
    std::uint64_t lists = 0;
    std::uint64_t checks = 0;
    /// Called at the begin of each fetch and of each check, if they are there.
    std::function<void()> on_fetch;
    std::function<void(std::span<const std::string>)> on_check;
    std::chrono::nanoseconds check_every = std::chrono::seconds(1);
  };

  explicit MemoryBin(std::shared_ptr<Shared> shared, std::size_t max_value_bytes = std::size_t{1} << 30)
      : shared_(std::move(shared)), max_value_bytes_(max_value_bytes) {}

  void put(std::span<const Value> values, const Wait&) override {
    const std::lock_guard lock(shared_->mutex);
    ++shared_->puts;
    for (const auto& value : values) {
      shared_->values[value.name] = SharedBytes::make(value.bytes(), [&](std::span<std::byte> to) {
        for (const auto& part : value.parts) {
          std::ranges::copy(part, to.begin());
          to = to.subspan(part.size());
        }
      });
    }
  }
  void fetch(std::span<const std::string> names, const OnValue& on_value, const Wait&) override {
    std::vector<std::pair<std::size_t, SharedBytes>> found;
    {
      const std::lock_guard lock(shared_->mutex);
      shared_->fetches.emplace_back(names.begin(), names.end());
      if (shared_->on_fetch) shared_->on_fetch();
      for (std::size_t i = 0; i < names.size(); ++i) {
        const auto at = shared_->values.find(names[i]);
        if (at != shared_->values.end()) found.emplace_back(i, at->second);
      }
    }
    for (const auto& [index, bytes] : found) on_value(index, bytes);
  }
  void remove(std::span<const std::string> names, const Wait&) override {
    const std::lock_guard lock(shared_->mutex);
    ++shared_->removes;
    for (const auto& name : names) shared_->values.erase(name);
  }
  void list(std::string_view before, const OnName& on_name, const Wait&) override {
    const std::lock_guard lock(shared_->mutex);
    ++shared_->lists;
    for (const auto& [name, bytes] : shared_->values) {
      if (before.empty() || name < before) on_name(name, bytes.size());
    }
  }
  void check_kept(std::span<const std::string> names, const Wait&) override {
    const std::lock_guard lock(shared_->mutex);
    ++shared_->checks;
    if (shared_->on_check) shared_->on_check(names);
  }
  [[nodiscard]] std::chrono::nanoseconds check_every() const noexcept override { return shared_->check_every; }
  [[nodiscard]] std::size_t max_value_bytes() const noexcept override { return max_value_bytes_; }
  [[nodiscard]] const std::string& uri() const noexcept override { return uri_; }

 private:
  const std::shared_ptr<Shared> shared_;
  const std::size_t max_value_bytes_;
  const std::string uri_ = "memory bin";
};

}  // namespace virga
