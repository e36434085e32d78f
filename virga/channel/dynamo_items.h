#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "virga/base/bytes.h"
#include "virga/base/shared_bytes.h"

namespace virga {

// Items of DynamoDB as they are sent and come back (docs/formats/channel-dynamodb.md): JSON, with bytes in base64.

/// Both have characters only that need no escapes in JSON.
struct DynamoKey {
  std::string partition;
  std::string sort;
  auto operator<=>(const DynamoKey&) const = default;
};

/// The partition key of what is of one kind in a job: "PREFIX" "JOB/KIND", and "/NAME" if there is one; job and name
/// percent-encoded but for '/', or '#' and their SHA-256 if they are long. At most 800 bytes without the prefix.
[[nodiscard]] std::string dynamo_partition(std::string_view prefix, std::string_view job, std::string_view kind,
                                           std::string_view name = {});

/// Bytes as a text of the standard alphabet, appended.
void append_base64(std::span<const ByteView> parts, std::string& to);
/// How many bytes that text stands for. Throws Error(kCorrupt) for a size that no such text has.
[[nodiscard]] std::size_t base64_bytes(std::string_view text);
/// `to` has base64_bytes(text). Throws Error(kCorrupt).
void decode_base64(std::string_view text, std::span<std::byte> to);
[[nodiscard]] SharedBytes decode_base64(std::string_view text);

/// {"p":{"S":"..."},"s":{"S":"..."}}
void append_key(const DynamoKey& key, std::string& to);

/// An item of an answer; what it refers to lives until the call returns that hands it over.
struct DynamoItem {
  std::string partition;
  std::string sort;
  std::string bytes;  ///< b, in base64
  std::string head;   ///< h, in base64
  bool has_bytes = false;
  bool has_head = false;
  std::uint64_t size = 0;     ///< z
  std::uint64_t version = 0;  ///< v
};
using OnDynamoItem = std::function<void(DynamoItem& item)>;

/// Of BatchGetItem: the items, and the keys that are to be asked for again.
[[nodiscard]] std::vector<DynamoKey> read_batch_get(std::string_view json, const OnDynamoItem& on_item);
/// Of BatchWriteItem: the keys of what is to be sent again.
[[nodiscard]] std::vector<DynamoKey> read_batch_write(std::string_view json);
/// Of Query: the items, and the key behind which the next page begins.
[[nodiscard]] std::optional<DynamoKey> read_query(std::string_view json, const OnDynamoItem& on_item);
/// Of GetItem ("Item") and UpdateItem ("Attributes"), where there is one.
[[nodiscard]] std::optional<DynamoItem> read_one(std::string_view json);

/// The units of capacity that a request took, if it asked for them (ReturnConsumedCapacity): of all tables. Throws
/// Error(kCorrupt) for what is no answer, and for units that are none.
[[nodiscard]] double read_consumed_units(std::string_view json);

/// What the service says when it refuses.
struct DynamoRefusal {
  std::string code;  ///< "ResourceNotFoundException"
  std::string message;
};
/// Never throws: empty for what is no such answer.
[[nodiscard]] DynamoRefusal read_dynamo_refusal(std::string_view json) noexcept;

}  // namespace virga
