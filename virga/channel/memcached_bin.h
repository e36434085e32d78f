#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "virga/channel/memcached_client.h"
#include "virga/channel/message_bin.h"

namespace virga {

/// Messages of a job in Memcached (docs/formats/channel-memcached.md), for PolledChannel. Those that do not fit into an
/// item are cut. It is a cache: when it is full it throws out what was used least, unless it was started with -M. So it
/// is asked while somebody waits: values that it threw out, or that went with a server which was restarted, end the
/// wait with kTooLarge or kUnavailable. The server should serve nothing else.
class MemcachedBin final : public MessageBin {
 public:
  MemcachedBin(std::shared_ptr<MemcachedClient> client, std::string_view job);

  void put(std::span<const Value> values, const Wait& wait) override;
  void fetch(std::span<const std::string> names, const OnValue& on_value, const Wait& wait) override;
  void remove(std::span<const std::string> names, const Wait& wait) override;
  void list(std::string_view before, const OnName& on_name, const Wait& wait) override;
  void check_kept(std::span<const std::string> names, const Wait& wait) override;
  [[nodiscard]] std::chrono::nanoseconds check_every() const noexcept override {
    return std::chrono::milliseconds(250);
  }
  [[nodiscard]] bool sees_conflicts() const noexcept override { return true; }
  [[nodiscard]] std::size_t max_value_bytes() const noexcept override;
  [[nodiscard]] const std::string& uri() const noexcept override { return client_->uri(); }

 private:
  class Cutting;

  /// Of the head of a value, and of its parts if it was cut.
  [[nodiscard]] std::string key_of(std::string_view name) const { return prefix_ + std::string(name); }
  [[nodiscard]] std::string key_of_part(std::string_view name, std::uint64_t part) const;
  [[nodiscard]] std::vector<std::string> keys_of(std::span<const std::string> names) const;
  /// Returns those of `items` that were there when they were put, and gone when they were looked at.
  [[nodiscard]] std::vector<MemcachedClient::Item> put_once(std::span<const MemcachedClient::Item> items,
                                                            const Wait& wait);
  [[nodiscard]] std::optional<SharedBytes> fetch_parts(const std::string& name, ByteView head, const Wait& wait);

  const std::shared_ptr<MemcachedClient> client_;
  const std::string prefix_;                                    // of keys
  const std::size_t item_bytes_;                                // of the largest value of an item
  std::mutex mutex_;                                            // guards all that follows
  std::map<std::string, std::uint64_t, std::less<>> parts_of_;  // names of values that are cut, as far as is known
  MemcachedState state_;                                        // as last seen
};

}  // namespace virga
