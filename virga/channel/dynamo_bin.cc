#include "virga/channel/dynamo_bin.h"

#include <algorithm>
#include <array>
#include <deque>
#include <new>

#include <fmt/format.h>

#include "virga/base/error.h"
#include "virga/channel/message_name.h"
#include "virga/channel/message_parts.h"
#include "virga/net/http.h"

namespace virga {
namespace {

// DynamoDB's limits.
constexpr std::size_t kDynamoItemBytes = std::size_t{400} << 10;
constexpr std::size_t kMostWrites = 25;
constexpr std::size_t kMostReads = 100;
/// Of keys, names of attributes and numbers: see dynamo_partition().
constexpr std::size_t kDynamoOverheadBytes = 2048;
constexpr std::size_t kDynamoBodyBytes = kDynamoItemBytes - kDynamoOverheadBytes;
constexpr std::uint64_t kMostDynamoMessageBytes = std::uint64_t{1} << 32;
/// Of a batch that is fetched: the service answers with at most 16 MB, and leaves the rest undone.
constexpr std::size_t kMostPartReads = 32;
/// After which the table may forget a message, where it is told to (docs/formats/channel-dynamodb.md).
constexpr std::chrono::hours kKept{7 * 24};
/// "VIEW/GROUP/SOURCE" of a message's name.
constexpr std::size_t kSourceChars = 26;

}  // namespace

DynamoBin::DynamoBin(std::shared_ptr<DynamoCalls> calls, std::string_view job)
    : calls_(std::move(calls)), partition_(dynamo_partition(calls_->options().place.prefix, job, "m")) {}

std::size_t DynamoBin::max_value_bytes() const noexcept { return kMostDynamoMessageBytes; }

DynamoKey DynamoBin::key_of(std::string_view name) const {
  const auto source = name.substr(0, kSourceChars);
  return {fmt::format("{}/{}", partition_, source), std::string(name.substr(std::min(name.size(), kSourceChars + 1)))};
}

DynamoKey DynamoBin::key_of_part(std::string_view name, std::uint64_t part) const {
  auto key = key_of(name);
  key.sort += fmt::format("+{:x}", part);
  return key;
}

DynamoBin::Write DynamoBin::item(DynamoKey key, std::string_view bytes_name, std::span<const ByteView> bytes,
                                 std::uint64_t size) const {
  const auto forgotten =
      std::chrono::duration_cast<std::chrono::seconds>((calls_->options().now() + kKept).time_since_epoch());
  Write write;
  write.json = fmt::format(R"({{"PutRequest":{{"Item":{{"p":{{"S":"{}"}},"s":{{"S":"{}"}},"t":{{"N":"{}"}})",
                           key.partition, key.sort, forgotten.count());
  if (!bytes_name.empty()) {
    fmt::format_to(std::back_inserter(write.json), R"(,"z":{{"N":"{}"}},"{}":{{"B":")", size, bytes_name);
    append_base64(bytes, write.json);
    write.json += R"("})";
  }
  write.json += "}}}";
  write.key = std::move(key);
  return write;
}

void DynamoBin::put(std::span<const Value> values, const Wait& wait) {
  std::map<DynamoKey, Write> last;  // heads, and values that are not cut: by key, as a batch has none twice
  std::vector<Write> first;         // parts, so that who finds a head finds them; and the index
  std::vector<std::string> new_sources;
  for (const auto& value : values) {
    const auto source = value.name.substr(0, kSourceChars);
    bool is_new = false;
    {
      const std::lock_guard lock(mutex_);
      is_new = !indexed_.contains(source) && std::ranges::find(new_sources, source) == new_sources.end();
    }
    if (is_new) {
      new_sources.push_back(source);
      first.push_back(item({partition_, source}, "", {}, 0));
    }
    const auto key = key_of(value.name);
    const auto bytes = value.bytes();
    if (last.contains(key)) continue;
    if (bytes <= kDynamoBodyBytes) {
      last.emplace(key, item(key, "b", value.parts, bytes));
      continue;
    }
    const MessageParts cut{.message_bytes = bytes, .body_bytes = static_cast<std::uint32_t>(kDynamoBodyBytes)};
    {
      const std::lock_guard lock(mutex_);
      parts_of_[value.name] = cut.count();
    }
    PieceCutter cutter(value.parts);
    for (std::uint64_t part = 0; part < cut.count(); ++part) {
      std::vector<ByteView> pieces;
      cutter.append(cut.body_bytes_of(part), pieces);
      first.push_back(item(key_of_part(value.name, part), "b", pieces, cut.body_bytes_of(part)));
    }
    const auto head = encode_header(cut);
    const ByteView head_part = head;
    last.emplace(key, item(key, "h", {&head_part, 1}, bytes));
  }
  std::vector<Write> rest;
  for (auto& [key, write] : last) rest.push_back(std::move(write));
  // A message that is not cut waits for nothing: whoever sweeps looks long after.
  if (first.size() == new_sources.size()) {
    std::ranges::move(first, std::back_inserter(rest));
    first.clear();
  }
  write_all(std::move(first), wait);
  write_all(std::move(rest), wait);
  const std::lock_guard lock(mutex_);
  indexed_.insert(new_sources.begin(), new_sources.end());
}

void DynamoBin::write_all(std::vector<Write> writes, const Wait& wait) {
  const auto& table = calls_->options().place.table;
  for (unsigned attempt = 1; !writes.empty(); ++attempt) {
    std::vector<DynamoRequest> requests;
    for (std::size_t from = 0; from < writes.size(); from += kMostWrites) {
      auto& request = requests.emplace_back(DynamoRequest{.operation = "BatchWriteItem", .body = {}});
      const auto to = std::min(writes.size(), from + kMostWrites);
      std::size_t bytes = table.size() + 40;
      for (auto i = from; i < to; ++i) bytes += writes[i].json.size() + 1;
      request.body.reserve(bytes);
      request.body = fmt::format(R"({{"RequestItems":{{"{}":[)", table);
      for (auto i = from; i < to; ++i) {
        if (i > from) request.body += ',';
        request.body += writes[i].json;
      }
      request.body += "]}}";
    }
    std::set<DynamoKey> undone;
    for (const auto& answer : calls_->perform(requests, wait)) {
      for (auto& key : read_batch_write(answer.body)) undone.insert(std::move(key));
    }
    std::erase_if(writes, [&](const Write& write) { return !undone.contains(write.key); });
    if (!writes.empty()) calls_->pause_before(attempt, writes.size(), wait);
  }
}

void DynamoBin::get_all(std::vector<DynamoKey> keys, const OnDynamoItem& on_item, const Wait& wait) {
  const auto& table = calls_->options().place.table;
  for (unsigned attempt = 1; !keys.empty(); ++attempt) {
    const bool has_parts = keys[0].sort.find('+') != std::string::npos;
    const auto most = has_parts ? kMostPartReads : kMostReads;
    std::vector<DynamoRequest> requests;
    for (std::size_t from = 0; from < keys.size(); from += most) {
      auto& request = requests.emplace_back(DynamoRequest{.operation = "BatchGetItem", .body = {}});
      request.body = fmt::format(R"({{"RequestItems":{{"{}":{{"ConsistentRead":true,"Keys":[)", table);
      for (auto i = from; i < std::min(keys.size(), from + most); ++i) {
        if (i > from) request.body += ',';
        append_key(keys[i], request.body);
      }
      request.body += "]}}}";
    }
    keys.clear();
    bool any = false;
    for (const auto& answer : calls_->perform(requests, wait)) {
      const auto take = [&](DynamoItem& item) {
        any = true;
        on_item(item);
      };
      std::ranges::move(read_batch_get(answer.body, take), std::back_inserter(keys));
    }
    // An answer that is full leaves keys undone as well: then there is nothing to wait for.
    if (any) attempt = 0;
    if (!keys.empty() && !any) calls_->pause_before(attempt, keys.size(), wait);
  }
}

void DynamoBin::query(const std::string& partition, std::string_view before, const OnDynamoItem& on_item,
                      const Wait& wait) {
  std::optional<DynamoKey> next;
  do {
    DynamoRequest request{.operation = "Query", .body = {}};
    request.body = fmt::format(
        R"({{"TableName":"{}","ConsistentRead":true,"ProjectionExpression":"p,s,z","KeyConditionExpression":"p = :p{}",)"
        R"("ExpressionAttributeValues":{{":p":{{"S":"{}"}})",
        calls_->options().place.table, before.empty() ? "" : " AND s < :s", partition);
    if (!before.empty()) request.body += fmt::format(R"(,":s":{{"S":"{}"}})", before);
    request.body += "}";
    if (next) {
      request.body += R"(,"ExclusiveStartKey":)";
      append_key(*next, request.body);
    }
    request.body += "}";
    next = read_query(calls_->perform(std::move(request), wait).body, on_item);
  } while (next);
}

void DynamoBin::fetch(std::span<const std::string> names, const OnValue& on_value, const Wait& wait) {
  std::map<DynamoKey, std::size_t> index_of;
  std::vector<DynamoKey> keys;
  for (std::size_t i = 0; i < names.size(); ++i) {
    keys.push_back(key_of(names[i]));
    index_of.emplace(keys.back(), i);
  }
  std::vector<std::pair<std::size_t, SharedBytes>> heads;
  const auto take = [&](DynamoItem& item) {
    const auto at = index_of.find(DynamoKey{item.partition, item.sort});
    if (at == index_of.end() || item.has_bytes == item.has_head) {
      throw Error(ErrorKind::kCorrupt,
                  fmt::format("{}: an item that is no message: {} {}", uri(), item.partition, item.sort));
    }
    const auto index = at->second;
    index_of.erase(at);
    if (item.has_head) {
      heads.emplace_back(index, decode_base64(item.head));
    } else {
      on_value(index, decode_base64(item.bytes));
    }
  };
  get_all(std::move(keys), take, wait);
  for (const auto& [index, head] : heads) {
    if (const auto bytes = fetch_parts(names[index], head.view(), wait)) on_value(index, *bytes);
  }
}

/// None if parts are gone: it is being removed.
std::optional<SharedBytes> DynamoBin::fetch_parts(const std::string& name, ByteView head, const Wait& wait) {
  const auto cut = decode_header(head, kMostDynamoMessageBytes);
  std::map<DynamoKey, std::uint64_t> part_of;
  std::vector<DynamoKey> keys;
  for (std::uint64_t part = 0; part < cut.count(); ++part) {
    keys.push_back(key_of_part(name, part));
    part_of.emplace(keys.back(), part);
  }
  const auto fill = [&](std::span<std::byte> to) {
    const auto take = [&](DynamoItem& item) {
      const auto at = part_of.find(DynamoKey{item.partition, item.sort});
      if (at == part_of.end() || !item.has_bytes) {
        throw Error(ErrorKind::kCorrupt, fmt::format("{}: an item that is no part of a message", uri()));
      }
      decode_base64(item.bytes, to.subspan(cut.offset_of(at->second), cut.body_bytes_of(at->second)));
      part_of.erase(at);
    };
    get_all(std::move(keys), take, wait);
  };
  try {
    auto bytes = SharedBytes::make(cut.message_bytes, fill);
    if (!part_of.empty()) return std::nullopt;
    return bytes;
  } catch (const std::bad_alloc&) {
    throw Error(ErrorKind::kTooLarge, fmt::format("{}: no memory for a message of {} bytes", uri(), cut.message_bytes));
  }
}

void DynamoBin::remove(std::span<const std::string> names, const Wait& wait) {
  std::set<DynamoKey> keys;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& name : names) {
      keys.insert(key_of(name));
      const auto at = parts_of_.find(name);
      if (at == parts_of_.end()) continue;
      for (std::uint64_t part = 0; part < at->second; ++part) keys.insert(key_of_part(name, part));
    }
  }
  std::vector<Write> writes;
  for (const auto& key : keys) {
    Write write{.key = key, .json = R"({"DeleteRequest":{"Key":)"};
    append_key(key, write.json);
    write.json += "}}";
    writes.push_back(std::move(write));
  }
  write_all(std::move(writes), wait);
  const std::lock_guard lock(mutex_);
  for (const auto& name : names) parts_of_.erase(name);
}

void DynamoBin::list(std::string_view before, const OnName& on_name, const Wait& wait) {
  std::vector<std::string> sources;
  query(
      partition_, before, [&](DynamoItem& item) { sources.push_back(std::move(item.sort)); }, wait);
  for (const auto& source : sources) {
    struct Found {
      std::uint64_t bytes = 0;
      std::uint64_t parts = 0;
    };
    std::map<std::string, Found> found;
    const auto take = [&](DynamoItem& item) {
      const auto plus = item.sort.find('+');
      const auto name = fmt::format("{}/{}", source, item.sort.substr(0, plus));
      if (plus == std::string::npos) {
        found[name].bytes = item.size;
      } else if (const auto part = parse_part_number(std::string_view(item.sort).substr(plus + 1))) {
        auto& whole = found[name];
        whole.parts = std::max(whole.parts, *part + 1);
      }
    };
    query(fmt::format("{}/{}", partition_, source), {}, take, wait);
    {
      const std::lock_guard lock(mutex_);
      for (const auto& [name, value] : found) {
        if (value.parts > 0) parts_of_[name] = value.parts;
      }
    }
    for (const auto& [name, value] : found) {
      if (before.empty() || name < before) on_name(name, value.bytes);
    }
  }
}

void DynamoBin::swept(std::string_view before, const Wait& wait) {
  std::vector<Write> writes;
  const auto take = [&](DynamoItem& item) {
    Write write{.key = {item.partition, item.sort}, .json = R"({"DeleteRequest":{"Key":)"};
    append_key(write.key, write.json);
    write.json += "}}";
    writes.push_back(std::move(write));
  };
  {
    const std::lock_guard lock(mutex_);
    indexed_.erase(indexed_.begin(), indexed_.lower_bound(before));
  }
  query(partition_, before, take, wait);
  write_all(std::move(writes), wait);
}

/// By a look for what is not there, so that nothing more must be allowed than messages need.
void DynamoBin::check_table(const Wait& wait) {
  get_all(
      {{partition_, "none"}}, [](const DynamoItem&) {}, wait);
}

}  // namespace virga
