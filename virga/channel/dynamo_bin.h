#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "virga/channel/dynamo_calls.h"
#include "virga/channel/dynamo_items.h"
#include "virga/channel/message_bin.h"

namespace virga {

/// Messages of a job in a table of DynamoDB (docs/formats/channel-dynamodb.md), for PolledChannel. Those that do not
/// fit into an item (400 KB) are cut. Items are put and fetched in batches, fetched consistently, and found again for a
/// sweep through an index of partitions, never by a scan. What the service leaves undone is asked for again, the later
/// the more often.
///
/// Cost, in what AWS bills: a write unit for each KB that is put, and one for each message and part that is removed; a
/// read unit for each 4 KB that is fetched, and one for each look at a message that is not there.
class DynamoBin final : public MessageBin {
 public:
  DynamoBin(std::shared_ptr<DynamoCalls> calls, std::string_view job);

  void put(std::span<const Value> values, const Wait& wait) override;
  void fetch(std::span<const std::string> names, const OnValue& on_value, const Wait& wait) override;
  void remove(std::span<const std::string> names, const Wait& wait) override;
  void list(std::string_view before, const OnName& on_name, const Wait& wait) override;
  void swept(std::string_view before, const Wait& wait) override;
  [[nodiscard]] Pace pace() const noexcept override {
    return {.first = std::chrono::milliseconds(1), .longest = std::chrono::milliseconds(100)};
  }
  [[nodiscard]] std::size_t max_value_bytes() const noexcept override;
  [[nodiscard]] PaidRequests paid() const override { return calls_->counts().units; }
  [[nodiscard]] const std::string& uri() const noexcept override { return calls_->options().place.uri; }

  /// Asks whether the table is there and has the keys that it must have. Throws as all members do.
  void check_table(const Wait& wait);

 private:
  /// An item to be written, or a key to be deleted, as JSON that a batch takes.
  struct Write {
    DynamoKey key;
    std::string json;
  };

  [[nodiscard]] DynamoKey key_of(std::string_view name) const;
  [[nodiscard]] DynamoKey key_of_part(std::string_view name, std::uint64_t part) const;
  [[nodiscard]] Write item(DynamoKey key, std::string_view bytes_name, std::span<const ByteView> bytes,
                           std::uint64_t size) const;
  void write_all(std::vector<Write> writes, const Wait& wait);
  void get_all(std::vector<DynamoKey> keys, const OnDynamoItem& on_item, const Wait& wait);
  /// All items of a partition, in order, whose sort key is less than `before` (empty: all).
  void query(const std::string& partition, std::string_view before, const OnDynamoItem& on_item, const Wait& wait);
  [[nodiscard]] std::optional<SharedBytes> fetch_parts(const std::string& name, ByteView head, const Wait& wait);

  const std::shared_ptr<DynamoCalls> calls_;
  const std::string partition_;                                 // of the index; those of messages begin with it
  std::mutex mutex_;                                            // guards all that follows
  std::map<std::string, std::uint64_t, std::less<>> parts_of_;  // names of values that are cut, as far as is known
  std::set<std::string, std::less<>> indexed_;                  // sources that this object has put into the index
};

}  // namespace virga
